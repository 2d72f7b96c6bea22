package org.example.ranker

import android.content.pm.PackageManager
import android.content.res.Configuration
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.os.Bundle
import android.os.Looper
import android.os.Parcel
import androidx.compose.ui.test.SemanticsMatcher
import androidx.compose.ui.test.hasClickAction
import androidx.compose.ui.test.hasContentDescription
import androidx.compose.ui.test.hasSetTextAction
import androidx.compose.ui.test.hasTestTag
import androidx.compose.ui.test.hasText
import androidx.compose.ui.test.isEnabled
import androidx.compose.ui.test.junit4.createEmptyComposeRule
import androidx.compose.ui.test.onNodeWithTag
import androidx.compose.ui.test.onNodeWithText
import androidx.compose.ui.test.performClick
import androidx.compose.ui.test.performScrollToNode
import androidx.compose.ui.test.performTextReplacement
import androidx.test.core.app.ApplicationProvider
import org.example.ranker.ui.Tags
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import java.io.File
import java.util.Locale
import org.example.ranker.Bundle as Bundled

/** The app's screen with the real model, from the APK's own resources and assets. */
@RunWith(RobolectricTestRunner::class)
class MainActivityTest {
    @get:Rule val compose = createEmptyComposeRule()

    private val case = Golden.rankings.first { it.userId in Bundled.vocabulary.userIds }
    private val titles = case.titles.filter { it.isNotBlank() && Bundled.vocabulary.knowsTitle(it) }.distinct().take(4)
    private lateinit var controller: ActivityController<MainActivity>

    private fun launch(saved: Bundle? = null) {
        controller = Robolectric.buildActivity(MainActivity::class.java)
        if (saved == null) controller.setup() else controller.setup(saved)
    }

    @After fun finish() {
        // Nothing of one test may be left in the main thread's queue for the next.
        compose.waitForIdle()
        controller.pause().stop().destroy()
        shadowOf(Looper.getMainLooper()).idle()
    }

    private val resources get() = ApplicationProvider.getApplicationContext<RankerApplication>().resources

    private fun text(
        id: Int,
        vararg arguments: Any,
    ): String = resources.getString(id, *arguments)

    private fun waitFor(matcher: SemanticsMatcher) =
        compose.waitUntil(TIMEOUT) { compose.onAllNodes(matcher).fetchSemanticsNodes().isNotEmpty() }

    private fun ready() = waitFor(hasTestTag(Tags.USER))

    private fun chooseUser(id: String) = compose.onNodeWithTag(Tags.USER).performTextReplacement(id)

    private fun add(
        title: String,
        label: String = title,
    ) {
        compose.onNodeWithTag(Tags.QUERY).performTextReplacement(title)
        compose.onNode(hasText(label) and hasClickAction() and !hasSetTextAction()).performClick()
        waitFor(hasContentDescription(text(R.string.remove_title, title)))
    }

    private fun click(label: String) = compose.onNode(hasText(label) and hasClickAction()).performClick()

    private fun rankButton(count: Int): String = resources.getQuantityString(R.plurals.rank, count, count)

    private fun row(
        place: Int,
        title: String,
        score: Float,
        known: Boolean = true,
    ): SemanticsMatcher {
        val rating = String.format(Locale.US, "%.2f", score)
        return hasContentDescription(
            text(R.string.ranked_row, place, title, rating, if (known) "" else text(R.string.title_unknown)),
        )
    }

    private fun golden(title: String) = case.scores[case.titles.indexOf(title)]

    private fun assertRanked() =
        titles.sortedByDescending(::golden).forEachIndexed { i, title -> waitFor(row(i + 1, title, golden(title))) }

    private fun rankGoldenCase() {
        ready()
        chooseUser(case.userId)
        titles.forEach { add(it) }
        click(rankButton(titles.size))
        assertRanked()
    }

    @Test fun `ranks as Python does`() {
        assertEquals(4, titles.size)
        launch()
        rankGoldenCase()
        screenshot("ranked-light")
    }

    @Test fun `recommends from the catalogue`() {
        launch()
        ready()
        chooseUser(case.userId)
        click(text(R.string.recommend))
        val expected = desktop { it.recommend(case.userId, 1) }
        waitFor(row(1, Bundled.vocabulary.titles[expected.indices.single()], expected.scores.single()))
    }

    @Test fun `marks an unknown user and a title of one's own`() {
        launch()
        ready()
        chooseUser("someone new")
        waitFor(hasText(text(R.string.user_unknown)))
        val own = "A Film of My Own (2099)"
        add(own, text(R.string.add_own_title, own))
        click(rankButton(1))
        val unknown = desktop { it.score(listOf("?"), listOf("?")) }
        waitFor(row(1, own, unknown.single(), known = false))
        chooseUser(case.userId)
        waitFor(hasText(text(R.string.user_known)))
    }

    @Test fun `suggests known users, and removes a candidate`() {
        launch()
        ready()
        chooseUser("")
        val id = Bundled.vocabulary.userIds.first()
        compose.onNode(hasContentDescription(text(R.string.choose_user, id))).performClick()
        waitFor(hasText(text(R.string.user_known)))
        add(titles.first())
        compose.onNode(hasContentDescription(text(R.string.remove_title, titles.first()))).performClick()
        waitFor(hasText(rankButton(0)))
    }

    @Test fun `survives rotation`() {
        launch()
        rankGoldenCase()
        RuntimeEnvironment.setQualifiers("+land")
        controller.recreate()
        assertEquals(Configuration.ORIENTATION_LANDSCAPE, controller.get().resources.configuration.orientation)
        // Landscape is too low for all of it: the last row must be within reach.
        val last = titles.minBy(::golden)
        compose.onNodeWithTag(Tags.LIST).performScrollToNode(row(titles.size, last, golden(last)))
    }

    @Test fun `survives the process's death`() {
        launch()
        rankGoldenCase()
        val saved = Bundle()
        controller.pause().stop().saveInstanceState(saved).destroy()
        launch(parceled(saved))
        assertRanked()
        compose.onNodeWithTag(Tags.USER).assertExists()
        waitFor(hasText(case.userId))
    }

    /** What the system keeps of a bundle: its bytes. Anything else would outlive the process only here. */
    private fun parceled(bundle: Bundle): Bundle {
        val parcel = Parcel.obtain()
        try {
            bundle.writeToParcel(parcel, 0)
            val bytes = parcel.marshall()
            val copy = Parcel.obtain()
            copy.unmarshall(bytes, 0, bytes.size)
            copy.setDataPosition(0)
            return Bundle().apply { readFromParcel(copy) }.apply { classLoader = javaClass.classLoader }
        } finally {
            parcel.recycle()
        }
    }

    @Test
    @Config(qualifiers = "+night")
    fun `dark mode draws light text on a dark ground`() {
        launch()
        rankGoldenCase()
        val corner = screenshot("ranked-dark").getPixel(2, 880)
        assertTrue("the ground is ${Integer.toHexString(corner)}", luminance(corner) < 0.2)
    }

    @Test fun `light mode draws a light ground`() {
        launch()
        ready()
        compose.waitForIdle()
        assertTrue(luminance(draw().getPixel(2, 880)) > 0.8)
    }

    @Test
    @Config(qualifiers = "+w320dp-h480dp")
    fun `large text leaves all within reach`() {
        RuntimeEnvironment.setFontScale(2f)
        launch()
        ready()
        compose.onNodeWithTag(Tags.LIST).performScrollToNode(hasText(text(R.string.recommend)))
        click(text(R.string.recommend))
        // Disabled while the model works.
        waitFor(hasText(text(R.string.recommend)) and isEnabled())
        compose.onNodeWithTag(Tags.LIST).performScrollToNode(hasContentDescription("20. ", substring = true))
    }

    @Test
    @Config(application = DamagedApplication::class)
    fun `a damaged model shows why, and retries`() {
        launch()
        waitFor(hasText(text(R.string.failed_damaged)))
        compose.onNodeWithText("SHA-256", substring = true).assertExists()
        screenshot("failed")
        ApplicationProvider.getApplicationContext<DamagedApplication>().damaged = false
        click(text(R.string.retry))
        ready()
    }

    @Test
    @Config(application = MissingApplication::class)
    fun `a missing model shows why`() {
        launch()
        waitFor(hasText(text(R.string.failed_missing)))
    }

    @Test fun `asks for no permission`() {
        launch()
        val context = controller.get()
        val manifest = context.packageManager.getPackageInfo(context.packageName, PackageManager.GET_PERMISSIONS)
        assertEquals(emptyList<String>(), manifest.requestedPermissions.orEmpty().toList())
    }

    /** Asks the model apart from the app; RankingModelTest holds it to Python's answers. */
    private fun <T> desktop(ask: (RankingModel) -> T): T = RankingModel.open(Bundled.assets).use(ask)

    private fun draw(): Bitmap {
        val view = controller.get().window.decorView
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        compose.runOnIdle { view.draw(Canvas(bitmap)) }
        return bitmap
    }

    private fun screenshot(name: String): Bitmap {
        val bitmap = draw()
        val folder = File(System.getProperty("screenshots") ?: "build/screenshots").apply { mkdirs() }
        folder.resolve("$name.png").outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
        return bitmap
    }

    private fun luminance(color: Int): Float = Color.valueOf(color).luminance()

    private companion object {
        const val TIMEOUT = 20_000L
    }
}

/** An app whose model has one byte changed, until the test mends it. */
class DamagedApplication : RankerApplication() {
    var damaged = true

    override fun assetSource(): AssetSource =
        object : AssetSource by super.assetSource() {
            override fun map(name: String) =
                Bundled.direct(read(name).also { if (damaged) it[it.size / 2] = (it[it.size / 2] + 1).toByte() })
        }
}

/** An app that was built without its model. */
class MissingApplication : RankerApplication() {
    override fun assetSource(): AssetSource =
        object : AssetSource by super.assetSource() {
            override fun map(name: String) = throw RankerException.AssetMissing(name)
        }
}
