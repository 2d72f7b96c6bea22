package org.example.ranker

import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import java.nio.ByteBuffer
import kotlin.time.Duration
import kotlin.time.measureTimedValue

/** A ranked list, with how long the model took. */
data class Ranking(
    val userId: String,
    val userKnown: Boolean,
    val movies: List<RankedMovie>,
    val elapsed: Duration,
)

/** One title's place in a [Ranking]: its predicted rating, and whether the model knows it. */
data class RankedMovie(
    val title: String,
    val score: Float,
    val known: Boolean,
)

/** The model with its catalogue. Its functions move to [dispatcher] by themselves. */
class RankingRepository private constructor(
    private val model: RankingModel,
    val vocabulary: Vocabulary,
    private val dispatcher: CoroutineDispatcher,
) : AutoCloseable by model {
    /** What the bundled file says of itself. */
    val file: ModelFile get() = model.file

    /** Ranks [titles] for a user, best first. */
    suspend fun rank(
        userId: String,
        titles: List<String>,
    ): Ranking = ranking(userId, titles) { model.rank(userId, titles) }

    /** The best [count] of the catalogue, by the model's own signature where the file has it. */
    suspend fun recommend(
        userId: String,
        count: Int,
    ): Ranking =
        ranking(userId, vocabulary.titles) {
            if (model.canRecommend) {
                model.recommend(userId, count)
            } else {
                model.rank(userId, vocabulary.titles).first(count)
            }
        }

    private suspend fun ranking(
        userId: String,
        titles: List<String>,
        rank: () -> RankedIndices,
    ): Ranking =
        withContext(dispatcher) {
            val (ranked, elapsed) = measureTimedValue(rank)
            val movies =
                ranked.indices.mapIndexed { place, index ->
                    RankedMovie(titles[index], ranked.scores[place], vocabulary.knowsTitle(titles[index]))
                }
            Ranking(userId, vocabulary.knowsUser(userId), movies, elapsed)
        }

    companion object {
        /** Opens the bundled model and catalogue, or throws a [RankerException] that says why not. */
        suspend fun open(
            assets: AssetSource,
            dispatcher: CoroutineDispatcher = Dispatchers.Default,
        ): RankingRepository =
            withContext(dispatcher) {
                val json = assets.read(AssetSource.VOCABULARY)
                assets.verify(AssetSource.VOCABULARY, ByteBuffer.wrap(json))
                val vocabulary = Vocabulary.parse(json)
                RankingRepository(RankingModel.open(assets), vocabulary, dispatcher)
            }

        private fun RankedIndices.first(count: Int): RankedIndices {
            val size = minOf(count, indices.size)
            return RankedIndices(indices.copyOf(size), scores.copyOf(size))
        }
    }
}
