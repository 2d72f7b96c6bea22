package org.example.ranker

import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** The ids that the model knows, in the order of its tables. */
class Vocabulary(
    val userIds: List<String>,
    val titles: List<String>,
) {
    private val knownUsers = userIds.toHashSet()
    private val knownTitles = titles.toHashSet()

    fun knowsUser(id: String): Boolean = id in knownUsers

    fun knowsTitle(title: String): Boolean = title in knownTitles

    companion object {
        fun parse(json: ByteArray): Vocabulary =
            try {
                val vocabulary = JSONObject(json.toString(Charsets.UTF_8))
                Vocabulary(
                    vocabulary.getJSONArray("user_id").strings(),
                    vocabulary.getJSONArray("movie_title").strings(),
                )
            } catch (e: JSONException) {
                throw RankerException.AssetDamaged("${AssetSource.VOCABULARY}: ${e.message}", e)
            }

        private fun JSONArray.strings(): List<String> = List(length()) { getString(it) }
    }
}
