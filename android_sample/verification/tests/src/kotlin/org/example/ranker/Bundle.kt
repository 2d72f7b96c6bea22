package org.example.ranker

import java.io.File
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.NoSuchFileException

/** Files of a folder in place of an APK's assets. */
class FolderAssets(
    private val folder: File,
) : AssetSource {
    override fun map(name: String): ByteBuffer =
        try {
            FileChannel.open(folder.resolve(name).toPath()).use { it.map(FileChannel.MapMode.READ_ONLY, 0, it.size()) }
        } catch (e: NoSuchFileException) {
            throw RankerException.AssetMissing(name, e)
        }

    override fun read(name: String): ByteArray = ByteArray(map(name).remaining()).also { map(name).get(it) }
}

/** What `python -m export.bundle` put into the app. */
object Bundle {
    val sample: File =
        generateSequence(File("").absoluteFile) { it.parentFile }
            .first { it.resolve("gradle/libs.versions.toml").exists() }
    val assets = FolderAssets(sample.resolve("app/src/main/assets"))
    val model: File = sample.resolve("app/src/main/assets/${AssetSource.MODEL}")
    val vocabulary = Vocabulary.parse(assets.read(AssetSource.VOCABULARY))

    /** A direct buffer, as TFLite needs, with bytes that a test may have changed. */
    fun direct(bytes: ByteArray): ByteBuffer = ByteBuffer.allocateDirect(bytes.size).put(bytes).apply { flip() }
}
