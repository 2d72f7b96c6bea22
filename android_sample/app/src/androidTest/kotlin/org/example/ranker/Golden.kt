package org.example.ranker

import org.json.JSONArray
import org.json.JSONObject

/** The cases that the exporter scored in Python and `python -m export.bundle` brought along. */
object Golden {
    private val cases = json("golden.json")
    private val parity = json("parity.json")

    /** How far another runtime may be from the scores in golden.json. */
    val tolerance: Float = parity.getJSONObject("golden_tolerance").getDouble("score").toFloat()
    val recipe: String = cases.getString("recipe")
    val modelSha256: String = cases.getString("model_sha256")
    val scores: List<GoldenScore> =
        cases.getJSONArray("score").objects().map {
            GoldenScore(it.id("user_id"), it.id("movie_title"), it.getDouble("tflite").toFloat())
        }
    val rankings: List<GoldenRanking> =
        cases.getJSONArray("rank").objects().map {
            GoldenRanking(
                it.id("user_id"),
                it.ids("movie_title"),
                it.getJSONArray("tflite_score").floats(),
                it.getJSONArray("tflite_order").ints(),
            )
        }
    val recommendations: List<GoldenRecommendation> =
        cases.optJSONArray("recommend")?.objects().orEmpty().map {
            GoldenRecommendation(
                it.id("user_id"),
                it.getInt("k"),
                it.ids("seen"),
                it.getJSONArray("index").ints(),
                it.getJSONArray("score").floats(),
            )
        }

    private fun json(name: String): JSONObject {
        val stream =
            checkNotNull(javaClass.getResourceAsStream("/$name")) { "$name is missing: run `python -m export.bundle`" }
        return JSONObject(stream.use { it.readBytes() }.toString(Charsets.UTF_8))
    }

    private fun JSONArray.objects() = List(length()) { getJSONObject(it) }

    private fun JSONArray.ints() = List(length()) { getInt(it) }

    private fun JSONArray.floats() = List(length()) { getDouble(it).toFloat() }

    /** The ids as their bytes say them; the readable ones beside them must agree. */
    private fun JSONObject.id(name: String): String = decode(getString(name), getString("${name}_hex"))

    private fun JSONObject.ids(name: String): List<String> {
        val texts = getJSONArray(name)
        val hex = getJSONArray("${name}_hex")
        check(texts.length() == hex.length()) { "$name has ${texts.length()} texts and ${hex.length()} of bytes" }
        return List(texts.length()) { decode(texts.getString(it), hex.getString(it)) }
    }

    private fun decode(
        text: String,
        hex: String,
    ): String {
        val decoded = ByteArray(hex.length / 2) { hex.substring(2 * it, 2 * it + 2).toInt(16).toByte() }
        check(decoded.toString(Charsets.UTF_8) == text) { "'$text' isn't $hex" }
        return text
    }
}

data class GoldenScore(
    val userId: String,
    val title: String,
    val score: Float,
)

data class GoldenRanking(
    val userId: String,
    val titles: List<String>,
    val scores: List<Float>,
    val order: List<Int>,
)

data class GoldenRecommendation(
    val userId: String,
    val count: Int,
    val seen: List<String>,
    val indices: List<Int>,
    val scores: List<Float>,
)
