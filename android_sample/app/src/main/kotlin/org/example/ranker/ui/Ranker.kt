package org.example.ranker.ui

import androidx.compose.foundation.clickable
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.ExperimentalLayoutApi
import androidx.compose.foundation.layout.FlowRow
import androidx.compose.foundation.layout.PaddingValues
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.imePadding
import androidx.compose.foundation.lazy.LazyColumn
import androidx.compose.foundation.lazy.LazyListScope
import androidx.compose.foundation.lazy.itemsIndexed
import androidx.compose.foundation.text.KeyboardOptions
import androidx.compose.material3.Button
import androidx.compose.material3.InputChip
import androidx.compose.material3.ListItem
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.SuggestionChip
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Modifier
import androidx.compose.ui.platform.testTag
import androidx.compose.ui.res.pluralStringResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.LiveRegionMode
import androidx.compose.ui.semantics.Role
import androidx.compose.ui.semantics.clearAndSetSemantics
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.heading
import androidx.compose.ui.semantics.liveRegion
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.text.input.ImeAction
import androidx.compose.ui.unit.dp
import org.example.ranker.R
import org.example.ranker.RankedMovie
import org.example.ranker.Ranking
import org.example.ranker.RankingUiState
import kotlin.time.DurationUnit

/**
 * The loaded screen: one scrolling list, so that nothing is out of reach in landscape or with
 * large text.
 */
@Composable
internal fun Ranker(
    state: RankingUiState.Ready,
    onUser: (String) -> Unit,
    onQuery: (String) -> Unit,
    onAdd: (String) -> Unit,
    onRemove: (String) -> Unit,
    onRank: () -> Unit,
    onRecommend: () -> Unit,
) {
    LazyColumn(
        Modifier.imePadding().testTag(Tags.LIST),
        contentPadding = PaddingValues(16.dp),
        verticalArrangement = Arrangement.spacedBy(8.dp),
    ) {
        item { User(state, onUser) }
        item { Search(state, onQuery) }
        matches(state, onAdd)
        item { Candidates(state.candidates, onRemove) }
        item { Actions(state, onRank, onRecommend) }
        state.failure?.let { failure ->
            item { Text(stringResource(failure.explanation), color = MaterialTheme.colorScheme.error) }
        }
        state.ranking?.let { ranking(it) }
    }
}

@OptIn(ExperimentalLayoutApi::class)
@Composable
private fun User(
    state: RankingUiState.Ready,
    onUser: (String) -> Unit,
) {
    OutlinedTextField(
        value = state.userId,
        onValueChange = onUser,
        modifier = Modifier.fillMaxWidth().testTag(Tags.USER),
        label = { Text(stringResource(R.string.user)) },
        supportingText = { Text(stringResource(if (state.userKnown) R.string.user_known else R.string.user_unknown)) },
        singleLine = true,
        keyboardOptions = KeyboardOptions(imeAction = ImeAction.Next),
    )
    FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        state.userSuggestions.forEach { id ->
            val label = stringResource(R.string.choose_user, id)
            SuggestionChip(
                onClick = { onUser(id) },
                label = { Text(id) },
                modifier = Modifier.semantics { contentDescription = label },
            )
        }
    }
}

@Composable
private fun Search(
    state: RankingUiState.Ready,
    onQuery: (String) -> Unit,
) {
    OutlinedTextField(
        value = state.query,
        onValueChange = onQuery,
        modifier = Modifier.fillMaxWidth().testTag(Tags.QUERY),
        label = { Text(stringResource(R.string.search)) },
        supportingText = { Text(stringResource(R.string.search_hint)) },
        singleLine = true,
        keyboardOptions = KeyboardOptions(imeAction = ImeAction.Done),
    )
}

private fun LazyListScope.matches(
    state: RankingUiState.Ready,
    onAdd: (String) -> Unit,
) {
    items(state.matches.size) { index ->
        val title = state.matches[index]
        Match(stringResource(R.string.add_title, title), title) { onAdd(title) }
    }
    if (state.queryIsNew) {
        item {
            val label = stringResource(R.string.add_own_title, state.query)
            Match(label, label) { onAdd(state.query) }
        }
    }
}

@Composable
private fun Match(
    label: String,
    text: String,
    onClick: () -> Unit,
) {
    ListItem(
        headlineContent = { Text(text) },
        modifier = Modifier.clickable(onClickLabel = label, role = Role.Button, onClick = onClick),
    )
}

@OptIn(ExperimentalLayoutApi::class)
@Composable
private fun Candidates(
    candidates: List<String>,
    onRemove: (String) -> Unit,
) {
    FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        candidates.forEach { title ->
            val label = stringResource(R.string.remove_title, title)
            InputChip(
                selected = true,
                onClick = { onRemove(title) },
                label = { Text(title) },
                // The cross is a picture of the chip's action, which the label says in words.
                trailingIcon = { Text("×", Modifier.clearAndSetSemantics { }) },
                modifier = Modifier.semantics { contentDescription = label },
            )
        }
    }
}

@OptIn(ExperimentalLayoutApi::class)
@Composable
private fun Actions(
    state: RankingUiState.Ready,
    onRank: () -> Unit,
    onRecommend: () -> Unit,
) {
    FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        val count = state.candidates.size
        Button(onClick = onRank, enabled = count > 0 && !state.working) {
            Text(pluralStringResource(R.plurals.rank, count, count))
        }
        OutlinedButton(onClick = onRecommend, enabled = !state.working) {
            Text(stringResource(R.string.recommend))
        }
    }
}

private fun LazyListScope.ranking(ranking: Ranking) {
    item {
        Text(
            stringResource(
                if (ranking.userKnown) R.string.ranking_title else R.string.ranking_title_unknown,
                ranking.userId,
                ranking.elapsed.toDouble(DurationUnit.MILLISECONDS),
            ),
            Modifier.semantics {
                heading()
                // TalkBack reads the new heading when a result arrives.
                liveRegion = LiveRegionMode.Polite
            },
            style = MaterialTheme.typography.titleMedium,
        )
    }
    itemsIndexed(ranking.movies) { index, movie -> RankedRow(index + 1, movie) }
}

@Composable
private fun RankedRow(
    place: Int,
    movie: RankedMovie,
) {
    val score = stringResource(R.string.score, movie.score)
    val unknown = stringResource(R.string.title_unknown)
    val spoken = stringResource(R.string.ranked_row, place, movie.title, score, if (movie.known) "" else unknown)
    ListItem(
        modifier = Modifier.clearAndSetSemantics { contentDescription = spoken },
        leadingContent = { Text(place.toString()) },
        headlineContent = { Text(movie.title) },
        supportingContent = if (movie.known) null else ({ Text(unknown) }),
        trailingContent = { Text(score) },
    )
}
