package org.example.ranker

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import org.junit.After
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith

/** The installed app's model gives Python's scores: on a device, and here under Robolectric. */
@RunWith(AndroidJUnit4::class)
class GoldenCasesTest {
    private lateinit var model: RankingModel

    @Before fun open() {
        model = RankingModel.open(ApkAssets(InstrumentationRegistry.getInstrumentation().targetContext.assets))
    }

    @After fun close() = model.close()

    @Test fun scoresAsPythonDoes() {
        assertTrue(Golden.scores.isNotEmpty())
        val scores = model.score(Golden.scores.map { it.userId }, Golden.scores.map { it.title })
        assertArrayEquals(Golden.scores.map { it.score }.toFloatArray(), scores, Golden.tolerance)
    }

    @Test fun ranksAsPythonDoes() {
        assertTrue(Golden.rankings.isNotEmpty())
        for (case in Golden.rankings) {
            val ranked = model.rank(case.userId, case.titles)
            val expected = case.order.map { case.scores[it] }.toFloatArray()
            assertArrayEquals("$case", expected, ranked.scores, Golden.tolerance)
        }
    }

    @Test fun recommendsAsPythonDoes() {
        assertEquals(model.canRecommend, Golden.recommendations.isNotEmpty())
        for (case in Golden.recommendations) {
            val ranked = model.recommend(case.userId, case.count, case.seen)
            assertArrayEquals("$case", case.scores.toFloatArray(), ranked.scores, Golden.tolerance)
        }
    }
}
