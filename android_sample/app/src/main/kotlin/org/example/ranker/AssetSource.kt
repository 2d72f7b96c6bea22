package org.example.ranker

import android.content.res.AssetManager
import java.io.FileInputStream
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.security.MessageDigest

/** The files that the exporter's `python -m export.bundle` wrote. */
interface AssetSource {
    /** Maps a file into memory: read when needed, shared, and none of it on the Java heap. */
    fun map(name: String): ByteBuffer

    /** Reads a file whole. */
    fun read(name: String): ByteArray

    companion object {
        const val MODEL = "ranker.tflite"
        const val VOCABULARY = "vocabulary.json"

        /** SHA-256 of each of the others, in the format of `sha256sum`. */
        const val CHECKSUMS = "SHA256SUMS"
    }
}

/** Assets in the APK. The model must be stored uncompressed there: see `noCompress`. */
class ApkAssets(
    private val assets: AssetManager,
) : AssetSource {
    override fun map(name: String): ByteBuffer =
        orMissing(name) {
            assets.openFd(name).use { descriptor ->
                FileInputStream(descriptor.fileDescriptor).use { stream ->
                    // The mapping outlives the descriptor.
                    stream.channel.map(
                        FileChannel.MapMode.READ_ONLY,
                        descriptor.startOffset,
                        descriptor.declaredLength,
                    )
                }
            }
        }

    override fun read(name: String): ByteArray = orMissing(name) { assets.open(name).use { it.readBytes() } }

    private inline fun <T> orMissing(
        name: String,
        read: () -> T,
    ): T =
        try {
            read()
        } catch (e: IOException) {
            throw RankerException.AssetMissing(name, e)
        }
}

/**
 * Throws [RankerException.AssetDamaged] unless [bytes] are those the exporter wrote as [name].
 *
 * TFLite checks a file's structure only: with a weight changed it would load and score wrong.
 */
fun AssetSource.verify(
    name: String,
    bytes: ByteBuffer,
) {
    val expected =
        read(AssetSource.CHECKSUMS)
            .toString(Charsets.UTF_8)
            .lineSequence()
            .firstOrNull { it.endsWith("  $name") }
            ?.substringBefore(' ')
            ?: throw RankerException.AssetDamaged("${AssetSource.CHECKSUMS} doesn't list $name")
    val digest = MessageDigest.getInstance("SHA-256").apply { update(bytes.duplicate()) }.digest()
    val actual = digest.joinToString("") { "%02x".format(it) }
    if (actual != expected) {
        throw RankerException.AssetDamaged("$name: SHA-256 is $actual, not $expected")
    }
}
