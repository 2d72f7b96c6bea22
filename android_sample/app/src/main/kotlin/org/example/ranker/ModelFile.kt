package org.example.ranker

import org.json.JSONException
import org.json.JSONObject
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** A signature's named tensors, each with its TFLite type. */
data class Signature(
    val inputs: Map<String, TensorType>,
    val outputs: Map<String, TensorType>,
)

/** The types of tensor that the ranker's signatures use, by TFLite's numbers. */
enum class TensorType(
    val code: Int,
) {
    FLOAT32(0),
    INT32(2),
    STRING(5),
    OTHER(-1),
    ;

    companion object {
        fun of(code: Int): TensorType = entries.firstOrNull { it.code == code } ?: OTHER
    }
}

/** What a `.tflite` file says of itself: its signatures and the exporter's metadata. */
data class ModelFile(
    val name: String,
    val version: String,
    val recipe: String,
    val signatures: Map<String, Signature>,
) {
    companion object {
        private const val IDENTIFIER = "TFL3"
        private const val IDENTIFIER_OFFSET = 4
        private const val METADATA = "RANKER_METADATA"
        private const val FORMAT_VERSION = 1

        /** Reads the description of a mapped file; no byte of it goes to the interpreter before. */
        @Suppress("TooGenericExceptionCaught") // What the bounds-checked reader throws.
        fun read(file: ByteBuffer): ModelFile {
            // TFLite would reject these too, but as an untyped error and after native code ran.
            try {
                val bytes = file.duplicate().order(ByteOrder.LITTLE_ENDIAN)
                val identifier = String(ByteArray(IDENTIFIER.length) { bytes.get(IDENTIFIER_OFFSET + it) })
                if (identifier != IDENTIFIER) throw RankerException.AssetDamaged("not a TFLite file")
                val model = FlatTable.root(bytes)
                return describe(readMetadata(model), readSignatures(model))
            } catch (e: IndexOutOfBoundsException) {
                throw RankerException.AssetDamaged("the TFLite file is truncated or damaged", e)
            } catch (e: JSONException) {
                throw RankerException.AssetDamaged("$METADATA isn't what the exporter writes", e)
            }
        }

        private fun describe(
            metadata: JSONObject,
            signatures: Map<String, Signature>,
        ): ModelFile {
            val format = metadata.getInt("format_version")
            if (format != FORMAT_VERSION) {
                throw RankerException.ModelUnsupported(
                    "the file's format version is $format; this app knows $FORMAT_VERSION",
                )
            }
            return ModelFile(
                name = metadata.getString("name"),
                version = metadata.getString("version"),
                recipe = metadata.getString("recipe"),
                signatures = signatures,
            )
        }

        private fun readMetadata(model: FlatTable): JSONObject {
            val entry =
                model.tables(Schema.MODEL_METADATA).firstOrNull { it.string(Schema.METADATA_NAME) == METADATA }
                    ?: throw RankerException.ModelUnsupported("the file has no $METADATA: not an exported ranker")
            val buffer = model.tables(Schema.MODEL_BUFFERS)[entry.int(Schema.METADATA_BUFFER)]
            return JSONObject(buffer.bytes(Schema.BUFFER_DATA).toString(Charsets.UTF_8))
        }

        private fun readSignatures(model: FlatTable): Map<String, Signature> {
            val subgraphs = model.tables(Schema.MODEL_SUBGRAPHS)
            return model.tables(Schema.MODEL_SIGNATURES).associate { signature ->
                val tensors = subgraphs[signature.int(Schema.SIGNATURE_SUBGRAPH)].tables(Schema.SUBGRAPH_TENSORS)

                fun types(field: Int) =
                    signature.tables(field).associate {
                        val tensor = tensors[it.int(Schema.TENSOR_MAP_INDEX)]
                        it.string(Schema.TENSOR_MAP_NAME) to TensorType.of(tensor.byte(Schema.TENSOR_TYPE))
                    }
                signature.string(Schema.SIGNATURE_KEY) to
                    Signature(types(Schema.SIGNATURE_INPUTS), types(Schema.SIGNATURE_OUTPUTS))
            }
        }
    }
}

/** Field numbers of TFLite's schema.fbs. Fields are only ever added, so they stay as they are. */
private object Schema {
    const val MODEL_SUBGRAPHS = 2
    const val MODEL_BUFFERS = 4
    const val MODEL_METADATA = 6
    const val MODEL_SIGNATURES = 7
    const val SUBGRAPH_TENSORS = 0
    const val TENSOR_TYPE = 1
    const val BUFFER_DATA = 0
    const val METADATA_NAME = 0
    const val METADATA_BUFFER = 1
    const val SIGNATURE_INPUTS = 0
    const val SIGNATURE_OUTPUTS = 1
    const val SIGNATURE_KEY = 2
    const val SIGNATURE_SUBGRAPH = 4
    const val TENSOR_MAP_NAME = 0
    const val TENSOR_MAP_INDEX = 1
}
