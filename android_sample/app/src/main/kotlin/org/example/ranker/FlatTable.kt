package org.example.ranker

import java.nio.ByteBuffer

/**
 * A FlatBuffers table, read in place.
 *
 * Every access is bounds-checked by [ByteBuffer]: a damaged file gives an
 * [IndexOutOfBoundsException], never a wild read. `buffer` must be little-endian.
 */
internal class FlatTable private constructor(
    private val buffer: ByteBuffer,
    private val start: Int,
) {
    private val layout = start - buffer.getInt(start)

    /** Where a field's value lies, or null where the file leaves it at its default. */
    private fun position(field: Int): Int? {
        val entry = LAYOUT_HEADER + field * Short.SIZE_BYTES
        if (entry >= unsignedShort(layout)) return null
        return unsignedShort(layout + entry).takeIf { it != 0 }?.let { start + it }
    }

    fun int(field: Int): Int = position(field)?.let(buffer::getInt) ?: 0

    fun byte(field: Int): Int = position(field)?.let { buffer.get(it).toInt() } ?: 0

    fun string(field: Int): String = bytes(field).toString(Charsets.UTF_8)

    fun bytes(field: Int): ByteArray {
        val vector = position(field)?.let(::follow) ?: return ByteArray(0)
        val length = length(vector, Byte.SIZE_BYTES)
        return ByteArray(length) { buffer.get(vector + Int.SIZE_BYTES + it) }
    }

    fun tables(field: Int): List<FlatTable> {
        val vector = position(field)?.let(::follow) ?: return emptyList()
        val length = length(vector, Int.SIZE_BYTES)
        return List(length) { FlatTable(buffer, follow(vector + Int.SIZE_BYTES * (it + 1))) }
    }

    private fun follow(position: Int): Int = position + buffer.getInt(position)

    private fun unsignedShort(position: Int): Int = buffer.getShort(position).toInt() and UNSIGNED_SHORT

    /** A vector's length, once it is known that its elements can fit: else it could be 2 GiB. */
    private fun length(
        vector: Int,
        elementBytes: Int,
    ): Int {
        val length = buffer.getInt(vector)
        if (length < 0 || length > (buffer.limit() - vector) / elementBytes) {
            throw IndexOutOfBoundsException("a vector of $length elements at $vector")
        }
        return length
    }

    companion object {
        private const val LAYOUT_HEADER = 2 * Short.SIZE_BYTES
        private const val UNSIGNED_SHORT = 0xFFFF

        fun root(buffer: ByteBuffer): FlatTable = FlatTable(buffer, buffer.getInt(0))
    }
}
