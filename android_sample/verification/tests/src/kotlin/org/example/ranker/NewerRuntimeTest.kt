package org.example.ranker

import org.bytedeco.javacpp.BytePointer
import org.bytedeco.tensorflowlite.TfLiteSignatureRunner
import org.bytedeco.tensorflowlite.TfLiteTensor
import org.bytedeco.tensorflowlite.global.tensorflowlite
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The exported file on a newer TFLite than the app's, through its C API. */
class NewerRuntimeTest {
    @Test fun `scores as Python does`() {
        val expected = Golden.scores.map { it.score }.toFloatArray()
        val scores = score(Golden.scores.map { it.userId }, Golden.scores.map { it.title })
        assertArrayEquals(expected, scores, Golden.tolerance)
    }

    private fun score(
        users: List<String>,
        titles: List<String>,
    ): FloatArray {
        val model = checkNotNull(tensorflowlite.TfLiteModelCreateFromFile(Bundle.model.path))
        val options = tensorflowlite.TfLiteInterpreterOptionsCreate()
        val interpreter = checkNotNull(tensorflowlite.TfLiteInterpreterCreate(model, options))
        val runner = checkNotNull(tensorflowlite.TfLiteInterpreterGetSignatureRunner(interpreter, "score"))
        try {
            for (name in listOf("user_id", "movie_title")) {
                ok(tensorflowlite.TfLiteSignatureRunnerResizeInputTensor(runner, name, intArrayOf(users.size), 1))
            }
            ok(tensorflowlite.TfLiteSignatureRunnerAllocateTensors(runner))
            fill(runner, "user_id", users)
            fill(runner, "movie_title", titles)
            ok(tensorflowlite.TfLiteSignatureRunnerInvoke(runner))
            val output = tensorflowlite.TfLiteSignatureRunnerGetOutputTensor(runner, "score")
            return FloatArray(users.size).also { bytes(output).asFloatBuffer().get(it) }
        } finally {
            tensorflowlite.TfLiteSignatureRunnerDelete(runner)
            tensorflowlite.TfLiteInterpreterDelete(interpreter)
            tensorflowlite.TfLiteInterpreterOptionsDelete(options)
            tensorflowlite.TfLiteModelDelete(model)
        }
    }

    /** TFLite's own layout of strings: their count, where each starts and the last ends, all bytes. */
    private fun fill(
        runner: TfLiteSignatureRunner,
        name: String,
        values: List<String>,
    ) {
        val strings = values.map { it.toByteArray(Charsets.UTF_8) }
        val header = Int.SIZE_BYTES * (strings.size + 2)
        val size = header + strings.sumOf { it.size }
        val tensor = tensorflowlite.TfLiteSignatureRunnerGetInputTensor(runner, name)
        ok(tensorflowlite.TfLiteTensorRealloc(size.toLong(), tensor))
        val bytes = bytes(tensor)
        bytes.putInt(strings.size)
        strings.runningFold(header) { start, string -> start + string.size }.forEach(bytes::putInt)
        strings.forEach(bytes::put)
    }

    private fun bytes(tensor: TfLiteTensor): ByteBuffer {
        val size = tensorflowlite.TfLiteTensorByteSize(tensor)
        return BytePointer(tensorflowlite.TfLiteTensorData(tensor))
            .capacity(size)
            .asByteBuffer()
            .order(ByteOrder.LITTLE_ENDIAN)
    }

    private fun ok(status: Int) = assertEquals(tensorflowlite.kTfLiteOk, status)
}
