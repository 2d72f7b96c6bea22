package org.example.ranker

import androidx.annotation.WorkerThread
import org.tensorflow.lite.Interpreter
import java.nio.ByteBuffer
import java.nio.FloatBuffer
import java.nio.IntBuffer

/**
 * The exported ranker: the only class that touches TFLite.
 *
 * An interpreter isn't safe for use by two threads at once, so a lock confines each call to one.
 * Calls block for as long as scoring takes: make them off the main thread. [close] waits for a
 * running call.
 */
@WorkerThread
class RankingModel private constructor(
    private val interpreter: Interpreter,
    val file: ModelFile,
) : AutoCloseable {
    private val lock = Any()
    private var closed = false

    /** Whether the file can pick titles out of its own vocabulary. */
    val canRecommend: Boolean = RECOMMEND in file.signatures

    /** Scores pairs: the result's item `i` is `userIds[i]`'s predicted rating of `titles[i]`. */
    fun score(
        userIds: List<String>,
        titles: List<String>,
    ): FloatArray {
        require(userIds.size == titles.size) { "${userIds.size} user ids for ${titles.size} titles" }
        val scores = FloatArray(titles.size)
        if (titles.isEmpty()) return scores
        run(SCORE, mapOf(USER_ID to strings(userIds), MOVIE_TITLE to strings(titles)), mapOf(SCORES to scores))
        return scores
    }

    /** Ranks titles for one user, whose half of the network runs once. */
    fun rank(
        userId: String,
        titles: List<String>,
    ): RankedIndices {
        val result = RankedIndices(IntArray(titles.size), FloatArray(titles.size))
        if (titles.isEmpty()) return result
        val scores = FloatArray(titles.size)
        run(
            RANK,
            mapOf(USER_ID to strings(listOf(userId)), MOVIE_TITLE to strings(titles)),
            mapOf(SCORES to scores, ORDER to result.indices),
        )
        result.indices.forEachIndexed { place, index -> result.scores[place] = scores[index] }
        return result
    }

    /** The best `count` titles that aren't in [seen], as indices into the vocabulary. */
    fun recommend(
        userId: String,
        count: Int,
        seen: List<String> = emptyList(),
    ): RankedIndices {
        require(count >= 0) { "count is $count" }
        check(canRecommend) { "the file has no signature '$RECOMMEND'" }
        if (count == 0) return RankedIndices(IntArray(0), FloatArray(0))
        // There can be fewer titles left than asked for. Buffers may be longer than the output,
        // which arrays may not, and their positions tell how much came.
        val indices = IntBuffer.allocate(count)
        val scores = FloatBuffer.allocate(count)
        run(
            RECOMMEND,
            mapOf(
                USER_ID to strings(listOf(userId)),
                COUNT to intArrayOf(count),
                SEEN to strings(seen.ifEmpty { listOf("") }),
            ),
            mapOf(INDEX to indices, SCORES to scores),
        )
        // The graph gives one title where all are seen, with a score that no title has.
        val found = if (scores.get(0) == -Float.MAX_VALUE) 0 else indices.position()
        return RankedIndices(indices.array().copyOf(found), scores.array().copyOf(found))
    }

    override fun close() =
        synchronized(lock) {
            if (!closed) interpreter.close()
            closed = true
        }

    private fun run(
        signature: String,
        inputs: Map<String, Any>,
        outputs: Map<String, Any>,
    ) = synchronized(lock) {
        check(!closed) { "the model is closed" }
        try {
            interpreter.runSignature(inputs, outputs, signature)
        } catch (e: IllegalArgumentException) {
            throw RankerException.ScoringFailed("$signature: ${e.message}", e)
        } catch (e: IllegalStateException) {
            throw RankerException.ScoringFailed("$signature: ${e.message}", e)
        }
    }

    companion object {
        private const val SCORE = "score"
        private const val RANK = "rank"
        private const val RECOMMEND = "recommend"
        private const val USER_ID = "user_id"
        private const val MOVIE_TITLE = "movie_title"
        private const val SCORES = "score"
        private const val ORDER = "order"
        private const val COUNT = "k"
        private const val SEEN = "seen"
        private const val INDEX = "index"

        private val required = setOf(SCORE, RANK)

        /** Each signature as this class calls it. A file may have more outputs, but not fewer. */
        private val known =
            mapOf(
                SCORE to
                    Signature(
                        mapOf(USER_ID to TensorType.STRING, MOVIE_TITLE to TensorType.STRING),
                        mapOf(SCORES to TensorType.FLOAT32),
                    ),
                RANK to
                    Signature(
                        mapOf(USER_ID to TensorType.STRING, MOVIE_TITLE to TensorType.STRING),
                        mapOf(SCORES to TensorType.FLOAT32, ORDER to TensorType.INT32),
                    ),
                RECOMMEND to
                    Signature(
                        mapOf(USER_ID to TensorType.STRING, COUNT to TensorType.INT32, SEEN to TensorType.STRING),
                        mapOf(INDEX to TensorType.INT32, SCORES to TensorType.FLOAT32),
                    ),
            )

        /** Opens the bundled model, once its checksum and its signatures are as they must be. */
        fun open(assets: AssetSource): RankingModel {
            val bytes = assets.map(AssetSource.MODEL)
            assets.verify(AssetSource.MODEL, bytes)
            return open(bytes)
        }

        /** Opens a model in a direct buffer, such as a mapped file, which it reads in place. */
        fun open(bytes: ByteBuffer): RankingModel {
            val file = ModelFile.read(bytes)
            checkSignatures(file)
            val options = Interpreter.Options().setNumThreads(1)
            return try {
                RankingModel(Interpreter(bytes, options), file)
            } catch (e: IllegalArgumentException) {
                throw RankerException.AssetDamaged("TFLite can't load the file: ${e.message}", e)
            } catch (e: IllegalStateException) {
                throw RankerException.ModelUnsupported("TFLite can't run the file: ${e.message}", e)
            }
        }

        private fun checkSignatures(file: ModelFile) {
            val missing = required - file.signatures.keys
            if (missing.isNotEmpty()) {
                throw RankerException.ModelUnsupported("the file lacks the signature ${missing.joinToString()}")
            }
            for ((name, expected) in known) {
                val actual = file.signatures[name] ?: continue
                val outputsFit = actual.outputs.entries.containsAll(expected.outputs.entries)
                if (actual.inputs != expected.inputs || !outputsFit) {
                    throw RankerException.ModelUnsupported("signature '$name' is $actual; this app knows $expected")
                }
            }
        }

        /**
         * Strings for TFLite as their UTF-8 bytes.
         *
         * Never pass it a `String`: its JNI code appends a NUL to each, so that every lookup
         * misses and the row for unknown ids answers, without any error.
         */
        private fun strings(values: List<String>): Array<ByteArray> =
            Array(values.size) { if (values[it].isEmpty()) UNKNOWN else values[it].toByteArray(Charsets.UTF_8) }

        /**
         * Stands for an empty id, since the Java API rejects an array of no bytes. 0xFF is never
         * part of UTF-8, so no vocabulary can hold it: unknown, as an empty id is.
         */
        private val UNKNOWN = byteArrayOf(0xFF.toByte())
    }
}

/** What a model ranked, best first: indices into what it was given, and their scores. */
class RankedIndices(
    val indices: IntArray,
    val scores: FloatArray,
)
