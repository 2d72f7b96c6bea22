"""Damage to files: the same for the same seed."""

import random


def mutated(content: bytes, seed: int) -> bytes:
    """One of five kinds of damage, in turns: flipped bits, bytes, a cut, a splice, numbers."""
    chance = random.Random(seed)
    data = bytearray(content)
    kind = seed % 5
    if kind == 0:
        for _ in range(chance.choice((1, 2, 8, 64))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        for _ in range(chance.choice((1, 4, 16))):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 127, 128, 255))
    elif kind == 2:
        del data[chance.randrange(8, len(data)) :]
    elif kind == 3:
        start, end = sorted(chance.sample(range(8, len(data)), 2))
        length = min(end - start, 4096)
        at = chance.randrange(8, len(data))
        data[at : at + length] = data[start : start + length]
    else:
        # Offsets, lengths, indices and shapes are 32-bit numbers at even places.
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(2, len(data) // 4 - 1) * 4
            number = chance.choice((0, 1, 2, 2**16, 2**31 - 1, 2**31, 2**32 - 1, len(data)))
            data[at : at + 4] = number.to_bytes(4, "little")
    return bytes(data)
