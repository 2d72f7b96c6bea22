package org.example.ranker

import androidx.lifecycle.SavedStateHandle
import androidx.lifecycle.ViewModel
import androidx.lifecycle.ViewModelProvider.AndroidViewModelFactory.Companion.APPLICATION_KEY
import androidx.lifecycle.createSavedStateHandle
import androidx.lifecycle.viewModelScope
import androidx.lifecycle.viewmodel.initializer
import androidx.lifecycle.viewmodel.viewModelFactory
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch

/**
 * Holds the screen's state through rotation, and what the user typed through process death.
 *
 * [open] is called off the main thread's work, once now and once for each [load].
 */
class RankingViewModel(
    private val saved: SavedStateHandle,
    private val open: suspend () -> RankingRepository,
) : ViewModel() {
    private val state = MutableStateFlow<RankingUiState>(RankingUiState.Loading)
    private var repository: RankingRepository? = null
    private var ranking: Job? = null

    val uiState: StateFlow<RankingUiState> = state.asStateFlow()

    init {
        load()
    }

    /** Opens the model, again if it failed before. */
    fun load() {
        state.value = RankingUiState.Loading
        viewModelScope.launch {
            try {
                val opened = open()
                repository = opened
                state.value = restore(opened.vocabulary)
                when (saved.get<String>(SHOWN)) {
                    SHOWN_RANKED -> rank()
                    SHOWN_RECOMMENDED -> recommend()
                }
            } catch (e: RankerException) {
                state.value = RankingUiState.Failed(e)
            }
        }
    }

    fun setUser(id: String) {
        saved[USER] = id
        updateReady { vocabulary -> withUser(id, vocabulary) }
    }

    fun setQuery(query: String) {
        saved[QUERY] = query
        updateReady { vocabulary -> withQuery(query, vocabulary) }
    }

    fun addCandidate(title: String) {
        setCandidates { it - title + title }
        setQuery("")
    }

    fun removeCandidate(title: String) = setCandidates { it - title }

    /** Ranks the candidates. */
    fun rank() = show(SHOWN_RANKED) { repository, ready -> repository.rank(ready.userId, ready.candidates) }

    /** Ranks the whole catalogue. */
    fun recommend() =
        show(SHOWN_RECOMMENDED) { repository, ready ->
            repository.recommend(ready.userId, RECOMMENDATIONS)
        }

    override fun onCleared() {
        repository?.close()
    }

    private fun setCandidates(change: (List<String>) -> List<String>) =
        updateReady {
            val candidates = change(candidates)
            saved[CANDIDATES] = ArrayList(candidates)
            copy(candidates = candidates)
        }

    private fun show(
        what: String,
        rank: suspend (RankingRepository, RankingUiState.Ready) -> Ranking,
    ) {
        val repository = repository ?: return
        val ready = state.value as? RankingUiState.Ready ?: return
        saved[SHOWN] = what
        // The newest request wins: an older one's answer must not replace it.
        ranking?.cancel()
        updateReady { copy(working = true, failure = null) }
        ranking =
            viewModelScope.launch {
                try {
                    val result = rank(repository, ready)
                    updateReady { copy(ranking = result, working = false) }
                } catch (e: RankerException) {
                    updateReady { copy(ranking = null, working = false, failure = e) }
                }
            }
    }

    private fun restore(vocabulary: Vocabulary): RankingUiState.Ready =
        RankingUiState
            .Ready(candidates = saved.get<ArrayList<String>>(CANDIDATES).orEmpty())
            .withUser(saved.get<String>(USER) ?: vocabulary.userIds.firstOrNull().orEmpty(), vocabulary)
            .withQuery(saved.get<String>(QUERY).orEmpty(), vocabulary)

    private fun updateReady(change: RankingUiState.Ready.(Vocabulary) -> RankingUiState.Ready) {
        val vocabulary = repository?.vocabulary ?: return
        state.update { if (it is RankingUiState.Ready) it.change(vocabulary) else it }
    }

    companion object {
        private const val USER = "user"
        private const val QUERY = "query"
        private const val CANDIDATES = "candidates"
        private const val SHOWN = "shown"
        private const val SHOWN_RANKED = "ranked"
        private const val SHOWN_RECOMMENDED = "recommended"
        private const val SUGGESTIONS = 5
        private const val RECOMMENDATIONS = 20

        val Factory =
            viewModelFactory {
                initializer {
                    val application = checkNotNull(this[APPLICATION_KEY]) as RankerApplication
                    RankingViewModel(createSavedStateHandle()) { RankingRepository.open(application.assetSource()) }
                }
            }

        private fun RankingUiState.Ready.withUser(
            id: String,
            vocabulary: Vocabulary,
        ): RankingUiState.Ready {
            val known = vocabulary.knowsUser(id)
            val similar = if (known) emptyList() else vocabulary.userIds.filter { it.startsWith(id) }
            return copy(userId = id, userKnown = known, userSuggestions = similar.take(SUGGESTIONS))
        }

        private fun RankingUiState.Ready.withQuery(
            query: String,
            vocabulary: Vocabulary,
        ): RankingUiState.Ready =
            copy(
                query = query,
                matches =
                    if (query.isBlank()) {
                        emptyList()
                    } else {
                        vocabulary.titles.filter { it.contains(query, ignoreCase = true) }.take(SUGGESTIONS)
                    },
                queryIsNew = query.isNotBlank() && !vocabulary.knowsTitle(query),
            )
    }
}
