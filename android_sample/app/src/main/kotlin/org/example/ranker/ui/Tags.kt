package org.example.ranker.ui

/** Test tags: what can't be found by its text. */
object Tags {
    const val USER = "user"
    const val QUERY = "query"
    const val LIST = "list"
}
