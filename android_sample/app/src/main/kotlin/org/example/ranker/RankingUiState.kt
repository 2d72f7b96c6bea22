package org.example.ranker

/** All that the screen shows. Immutable: each change makes a new one. */
sealed interface RankingUiState {
    data object Loading : RankingUiState

    data class Failed(
        val reason: RankerException,
    ) : RankingUiState

    data class Ready(
        val userId: String = "",
        val userKnown: Boolean = false,
        /** Known ids that start with what is typed. */
        val userSuggestions: List<String> = emptyList(),
        val query: String = "",
        /** Titles of the catalogue that contain [query]. */
        val matches: List<String> = emptyList(),
        /** Whether [query] can be added as a title that the catalogue doesn't have. */
        val queryIsNew: Boolean = false,
        val candidates: List<String> = emptyList(),
        val ranking: Ranking? = null,
        val working: Boolean = false,
        /** Why the last ranking failed, if it did. */
        val failure: RankerException? = null,
    ) : RankingUiState
}
