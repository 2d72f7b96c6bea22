package org.example.ranker

import org.junit.After
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.tensorflow.lite.Interpreter
import java.io.File
import java.util.concurrent.Callable
import java.util.concurrent.Executors
import kotlin.math.abs

/** The app's own model class on the real interpreter, against the exporter's golden cases. */
class RankingModelTest {
    private lateinit var model: RankingModel

    @Before fun open() {
        model = RankingModel.open(Bundle.assets)
    }

    @After fun close() = model.close()

    private fun one(
        userId: String,
        title: String,
    ): Float = model.score(listOf(userId), listOf(title)).single()

    @Test fun `there are golden cases of each signature`() {
        assertTrue("${Golden.scores.size} score cases", Golden.scores.size >= 200)
        assertTrue("no rank case", Golden.rankings.isNotEmpty())
        assertEquals(model.canRecommend, Golden.recommendations.isNotEmpty())
        assertEquals(Golden.recipe, model.file.recipe)
    }

    @Test fun `scores each golden pair`() {
        for (case in Golden.scores) assertEquals("$case", case.score, one(case.userId, case.title), Golden.tolerance)
    }

    @Test fun `scores the golden pairs in one batch`() {
        val scores = model.score(Golden.scores.map { it.userId }, Golden.scores.map { it.title })
        val expected = Golden.scores.map { it.score }.toFloatArray()
        assertArrayEquals(expected, scores, Golden.tolerance)
    }

    @Test fun `a wrong score would be noticed`() {
        val case = Golden.scores.first()
        val others = Bundle.vocabulary.titles.take(50).map { one(case.userId, it) }
        assertTrue(others.any { abs(it - case.score) > 10 * Golden.tolerance })
    }

    @Test fun `ranks the golden candidates`() {
        for (case in Golden.rankings) {
            val ranked = model.rank(case.userId, case.titles)
            assertEquals(case.titles.indices.toList(), ranked.indices.sorted())
            ranked.indices.forEachIndexed { place, index ->
                assertEquals("$case", case.scores[index], ranked.scores[place], Golden.tolerance)
                // Another runtime may swap titles only where they score the same within tolerance.
                assertEquals("$case", case.scores[case.order[place]], case.scores[index], 2 * Golden.tolerance)
            }
        }
    }

    @Test fun `recommends the golden titles`() {
        for (case in Golden.recommendations) {
            val ranked = model.recommend(case.userId, case.count, case.seen)
            assertArrayEquals("$case", case.scores.toFloatArray(), ranked.scores, Golden.tolerance)
            val titles = ranked.indices.map { Bundle.vocabulary.titles[it] }
            assertEquals("$case", emptySet<String>(), titles.toSet() intersect case.seen.toSet())
            val scores = model.score(List(titles.size) { case.userId }, titles)
            assertArrayEquals("an index isn't its title's", scores, ranked.scores, Golden.tolerance)
        }
    }

    @Test fun `recommends no more than there is`() {
        val all = Bundle.vocabulary.titles
        val seen = all.drop(3)
        assertEquals(setOf(0, 1, 2), model.recommend("1", 10, seen).indices.toSet())
        // The same shapes of input as before, but another size of output.
        assertEquals(4, model.recommend("1", 10, seen.dropLast(1) + seen.first()).indices.size)
        assertEquals(0, model.recommend("1", 10, all).indices.size)
        assertEquals(all.size, model.recommend("1", all.size + 5).indices.size)
        assertEquals(0, model.recommend("1", 0).indices.size)
    }

    @Test fun `no candidates give no scores`() {
        assertEquals(0, model.score(emptyList(), emptyList()).size)
        assertEquals(0, model.rank("1", emptyList()).indices.size)
    }

    @Test fun `unknown, empty and non-ASCII ids score as unknown ones`() {
        val title = Bundle.vocabulary.titles.first()
        val unknown = one("no such user", title)
        val strangers = listOf("", "ж", "用户", "\uD83D\uDE00", "a\u0000", "é")
        for (id in strangers) assertEquals(id, unknown, one(id, title), 0f)
        val user = Bundle.vocabulary.userIds.first()
        val untitled = one(user, "no such title")
        val untold = listOf("", "Ночной дозор (2004)", "\uD83D\uDE00 (2017)")
        for (id in untold) assertEquals(id, untitled, one(user, id), 0f)
        assertTrue("a known user scores as an unknown one", one(user, title) != unknown)
        assertEquals(untitled, model.rank(user, listOf("", title)).let { it.scores[it.indices.indexOf(0)] }, 1e-6f)
    }

    @Test fun `a known title with an accent isn't taken for unknown`() {
        val accented = Bundle.vocabulary.titles.filter { title -> title.any { it.code > 127 } }
        assertTrue("the vocabulary has no non-ASCII title", accented.isNotEmpty())
        val user = Bundle.vocabulary.userIds.first()
        val unknown = one(user, "no such title")
        assertTrue(accented.any { one(user, it) != unknown })
    }

    /** Why RankingModel passes bytes: `String`s run without an error, and score every id as unknown. */
    @Test fun `strings in place of bytes score wrong`() {
        val case = Golden.scores.first { abs(it.score - one("no such user", "no such title")) > 1e-2 }
        val score = FloatArray(1)
        Interpreter(Bundle.model).use {
            it.runSignature(
                mapOf("user_id" to arrayOf(case.userId), "movie_title" to arrayOf(case.title)),
                mapOf("score" to score),
                "score",
            )
        }
        assertEquals(one("no such user", "no such title"), score.single(), Golden.tolerance)
        assertEquals(case.score, one(case.userId, case.title), Golden.tolerance)
    }

    @Test fun `callers on several threads get their own scores`() {
        val cases = Golden.scores
        val pool = Executors.newFixedThreadPool(8)
        try {
            val calls = List(400) { Callable { one(cases[it % cases.size].userId, cases[it % cases.size].title) } }
            pool.invokeAll(calls).forEachIndexed { i, score ->
                assertEquals(cases[i % cases.size].score, score.get(), Golden.tolerance)
            }
        } finally {
            pool.shutdownNow()
        }
    }

    @Test fun `a closed model says so, and closes twice`() {
        model.close()
        model.close()
        assertThrows(IllegalStateException::class.java) { one("1", "x") }
    }

    /**
     * 100,000 calls of changing size. A leak of one 16-byte tensor a call would be 1.6 MB, of one
     * string input some 100 bytes a call 10 MB: under the bound of 8 MB only the first can hide.
     * Measured as the growth over the last 100,000 after as many that warm up heap and caches.
     */
    @Test fun `calls leak no native memory`() {
        val titles = Bundle.vocabulary.titles.take(8)

        fun calls() = repeat(100_000) { model.rank("1", titles.subList(0, 1 + it % titles.size)) }
        calls()
        System.gc()
        val before = residentKiB()
        calls()
        System.gc()
        val grown = residentKiB() - before
        assertTrue("resident memory grew by $grown KiB", grown < 8 * 1024)
    }

    private fun residentKiB(): Int {
        val line = File("/proc/self/status").readLines().first { it.startsWith("VmRSS:") }
        return Regex("\\d+").find(line)!!.value.toInt()
    }
}
