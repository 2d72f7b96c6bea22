package org.example.ranker

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Gradle's version catalog and the Maven build that stands in for Gradle name the same versions. */
class VersionsTest {
    private val catalog = versionsOf(Bundle.sample.resolve("gradle/libs.versions.toml").readText(), CATALOG_LINE)
    private val maven = versionsOf(Bundle.sample.resolve("verification/pom.xml").readText(), MAVEN_LINE)

    private fun versionsOf(
        text: String,
        line: Regex,
    ): Map<String, String> = line.findAll(text).associate { it.groupValues[1] to it.groupValues[2] }

    @Test fun `the Maven build has the catalog's versions`() {
        assertTrue("read only $maven", maven.size >= 9)
        assertEquals(catalog.filterKeys { it in maven }, maven)
    }

    @Test fun `a version that drifted would be noticed`() {
        val drifted = versionsOf("<version.kotlin>0.0</version.kotlin>", MAVEN_LINE)
        assertTrue(catalog["kotlin"] != drifted["kotlin"])
    }

    @Test fun `only what Maven has no use for is the catalog's alone`() {
        assertEquals(setOf("agp", "compileSdk", "minSdk", "targetSdk", "testRunner"), catalog.keys - maven.keys)
    }

    private companion object {
        val CATALOG_LINE = Regex("""^(\w+) = "([\w.]+)"$""", RegexOption.MULTILINE)
        val MAVEN_LINE = Regex("""<version\.(\w+)>([\w.]+)</""")
    }
}
