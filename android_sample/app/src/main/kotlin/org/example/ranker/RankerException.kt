package org.example.ranker

/** Why the ranker can't answer. The screen has a message for each; [message] is the detail. */
sealed class RankerException(
    message: String,
    cause: Throwable? = null,
) : Exception(message, cause) {
    /** An asset isn't in the app: `python -m export.bundle` puts it there. */
    class AssetMissing(
        name: String,
        cause: Throwable? = null,
    ) : RankerException("$name: ${cause?.message ?: "not found"}", cause)

    /** An asset is there, but its bytes aren't what the exporter wrote. */
    class AssetDamaged(
        message: String,
        cause: Throwable? = null,
    ) : RankerException(message, cause)

    /** The file is whole, but of a format that this version of the app doesn't know. */
    class ModelUnsupported(
        message: String,
        cause: Throwable? = null,
    ) : RankerException(message, cause)

    /** The interpreter failed on a call. */
    class ScoringFailed(
        message: String,
        cause: Throwable? = null,
    ) : RankerException(message, cause)
}
