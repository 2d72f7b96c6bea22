package org.example.ranker

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

/** Files that aren't what the exporter wrote: each gives the typed error, none scores. */
class ModelFileTest {
    @get:Rule val folder = TemporaryFolder()

    private val bytes = Bundle.model.readBytes()

    private inline fun <reified E : RankerException> failure(file: ByteArray): String =
        assertThrows(E::class.java) { RankingModel.open(Bundle.direct(file)).close() }.message.orEmpty()

    private fun replaced(
        from: String,
        to: String,
    ): ByteArray {
        check(from.length == to.length)
        val text = bytes.toString(Charsets.ISO_8859_1)
        check(from in text) { "the file has no '$from'" }
        return text.replace(from, to).toByteArray(Charsets.ISO_8859_1)
    }

    /** Renames what the file's tables hold under a name, wherever it is all of a string. */
    private fun renamed(
        from: String,
        to: String,
    ): ByteArray {
        val length = "${from.length.toChar()}\u0000\u0000\u0000"
        return replaced("$length$from\u0000", "$length$to\u0000")
    }

    @Test fun `the file describes itself`() {
        val file = ModelFile.read(Bundle.direct(bytes))
        assertTrue(file.signatures.keys.containsAll(setOf("score", "rank")))
        assertEquals(
            Signature(
                mapOf("user_id" to TensorType.STRING, "movie_title" to TensorType.STRING),
                mapOf("score" to TensorType.FLOAT32),
            ),
            file.signatures["score"],
        )
        assertTrue(file.version, Regex("1\\.\\d+\\.\\d+").matches(file.version))
    }

    @Test fun `a file of another kind is damaged`() {
        for (file in listOf(ByteArray(0), ByteArray(3), "not a model at all".toByteArray(), ByteArray(4096))) {
            failure<RankerException.AssetDamaged>(file)
        }
    }

    @Test fun `a truncated file is damaged, wherever it ends`() {
        // The exporter may put the bulk of the file first or last: a cut at each 1 %, and near both ends.
        val ends = (0..99).map { bytes.size * it / 100 } + (1..64) + (1..3).map { bytes.size / 2 + it }
        for (end in ends) {
            val error =
                assertThrows("at $end", RankerException::class.java) {
                    RankingModel.open(Bundle.direct(bytes.copyOf(end))).close()
                }
            assertTrue("at $end: $error", error is RankerException.AssetDamaged)
        }
    }

    @Test fun `a changed byte anywhere fails the checksum`() {
        for (name in listOf(AssetSource.MODEL, AssetSource.CHECKSUMS, AssetSource.VOCABULARY)) {
            folder.root.resolve(name).writeBytes(Bundle.assets.read(name))
        }
        RankingModel.open(FolderAssets(folder.root)).close()
        for (position in listOf(0, bytes.size / 3, bytes.size - 1)) {
            val changed = bytes.copyOf().also { it[position] = (it[position] + 1).toByte() }
            folder.root.resolve(AssetSource.MODEL).writeBytes(changed)
            assertThrows(RankerException.AssetDamaged::class.java) { RankingModel.open(FolderAssets(folder.root)) }
        }
    }

    @Test fun `an unlisted and a missing file are told apart`() {
        val assets = FolderAssets(folder.root)
        assertThrows(RankerException.AssetMissing::class.java) { RankingModel.open(assets) }
        File(folder.root, AssetSource.MODEL).writeBytes(bytes)
        File(folder.root, AssetSource.CHECKSUMS).writeText("")
        assertThrows(RankerException.AssetDamaged::class.java) { RankingModel.open(assets) }
    }

    @Test fun `another format version is named`() {
        val file = replaced("\"format_version\":1", "\"format_version\":7")
        val message = failure<RankerException.ModelUnsupported>(file)
        assertEquals("the file's format version is 7; this app knows 1", message)
    }

    @Test fun `metadata that is missing or no JSON is told apart`() {
        val unnamed = failure<RankerException.ModelUnsupported>(replaced("RANKER_METADATA", "RANKER_METADATX"))
        assertTrue(unnamed, "RANKER_METADATA" in unnamed)
        failure<RankerException.AssetDamaged>(replaced("\"format_version\"", "]format_version]"))
    }

    @Test fun `a missing signature is named`() {
        val message = failure<RankerException.ModelUnsupported>(renamed("rank", "rant"))
        assertEquals("the file lacks the signature rank", message)
    }

    @Test fun `another output of a signature is named`() {
        val message = failure<RankerException.ModelUnsupported>(renamed("order", "odder"))
        assertTrue(message, message.startsWith("signature 'rank' is"))
    }
}
