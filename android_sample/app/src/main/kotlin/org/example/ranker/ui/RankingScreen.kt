package org.example.ranker.ui

import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Box
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.Button
import androidx.compose.material3.CircularProgressIndicator
import androidx.compose.material3.ExperimentalMaterial3Api
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.Scaffold
import androidx.compose.material3.Text
import androidx.compose.material3.TopAppBar
import androidx.compose.runtime.Composable
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.heading
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.unit.dp
import org.example.ranker.R
import org.example.ranker.RankerException
import org.example.ranker.RankingUiState

/** The screen in each of its states. It holds none itself. */
@OptIn(ExperimentalMaterial3Api::class)
@Composable
fun RankingScreen(
    state: RankingUiState,
    onUser: (String) -> Unit,
    onQuery: (String) -> Unit,
    onAdd: (String) -> Unit,
    onRemove: (String) -> Unit,
    onRank: () -> Unit,
    onRecommend: () -> Unit,
    onRetry: () -> Unit,
) {
    Scaffold(topBar = { TopAppBar(title = { Text(stringResource(R.string.app_name)) }) }) { insets ->
        Box(Modifier.fillMaxSize().padding(insets)) {
            when (state) {
                RankingUiState.Loading -> Loading(Modifier.align(Alignment.Center))
                is RankingUiState.Failed -> Failure(state.reason, onRetry)
                is RankingUiState.Ready -> Ranker(state, onUser, onQuery, onAdd, onRemove, onRank, onRecommend)
            }
        }
    }
}

@Composable
private fun Loading(modifier: Modifier) {
    val label = stringResource(R.string.loading)
    CircularProgressIndicator(modifier.semantics { contentDescription = label })
}

@Composable
private fun Failure(
    reason: RankerException,
    onRetry: () -> Unit,
) {
    Column(
        Modifier.verticalScroll(rememberScrollState()).padding(16.dp),
        verticalArrangement = Arrangement.spacedBy(12.dp),
    ) {
        Text(
            stringResource(R.string.failed_title),
            Modifier.semantics { heading() },
            style = MaterialTheme.typography.titleLarge,
        )
        Text(stringResource(reason.explanation))
        Text(reason.message.orEmpty(), style = MaterialTheme.typography.bodySmall)
        Button(onClick = onRetry) { Text(stringResource(R.string.retry)) }
    }
}

/** What a failure means to a person; the exception's own message is the detail. */
internal val RankerException.explanation: Int
    get() =
        when (this) {
            is RankerException.AssetMissing -> R.string.failed_missing
            is RankerException.AssetDamaged -> R.string.failed_damaged
            is RankerException.ModelUnsupported -> R.string.failed_unsupported
            is RankerException.ScoringFailed -> R.string.failed_scoring
        }
