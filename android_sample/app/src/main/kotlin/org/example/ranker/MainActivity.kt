package org.example.ranker

import android.os.Bundle
import androidx.activity.ComponentActivity
import androidx.activity.compose.setContent
import androidx.activity.enableEdgeToEdge
import androidx.compose.runtime.getValue
import androidx.lifecycle.compose.collectAsStateWithLifecycle
import androidx.lifecycle.viewmodel.compose.viewModel
import org.example.ranker.ui.RankerTheme
import org.example.ranker.ui.RankingScreen

/** The app's one screen. */
class MainActivity : ComponentActivity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        enableEdgeToEdge()
        super.onCreate(savedInstanceState)
        setContent {
            val viewModel: RankingViewModel = viewModel(factory = RankingViewModel.Factory)
            val state by viewModel.uiState.collectAsStateWithLifecycle()
            RankerTheme {
                RankingScreen(
                    state = state,
                    onUser = viewModel::setUser,
                    onQuery = viewModel::setQuery,
                    onAdd = viewModel::addCandidate,
                    onRemove = viewModel::removeCandidate,
                    onRank = viewModel::rank,
                    onRecommend = viewModel::recommend,
                    onRetry = viewModel::load,
                )
            }
        }
    }
}
