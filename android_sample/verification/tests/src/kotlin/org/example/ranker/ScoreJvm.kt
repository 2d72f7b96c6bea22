package org.example.ranker

import org.json.JSONArray
import org.json.JSONObject
import java.io.File
import java.nio.channels.FileChannel
import kotlin.system.exitProcess

/** Scores pairs with the app's own model class on a desktop JVM: `../score-jvm` runs it. */
object ScoreJvm {
    @JvmStatic
    fun main(arguments: Array<String>) {
        if (arguments.size != 3) {
            System.err.println("usage: score-jvm MODEL.tflite PAIRS.json OUT.json")
            exitProcess(2)
        }
        val (model, pairs, out) = arguments.map(::File)
        val cases = JSONArray(pairs.readText())
        val users = List(cases.length()) { cases.getJSONArray(it).getString(0) }
        val titles = List(cases.length()) { cases.getJSONArray(it).getString(1) }
        val file = FileChannel.open(model.toPath()).use { it.map(FileChannel.MapMode.READ_ONLY, 0, it.size()) }
        RankingModel.open(file).use { ranker ->
            val batch = ranker.score(users, titles)
            val single = users.indices.map { ranker.score(listOf(users[it]), listOf(titles[it])).single() }
            out.writeText(
                JSONObject()
                    .put("score", JSONArray(batch))
                    .put("score_one_at_a_time", JSONArray(single))
                    .toString(),
            )
        }
    }
}
