"""Mutations within the formats that engram reads.

Each module gives `mutate(rng, data) -> bytes`: a small change that keeps the format's frame right (lengths, offsets,
checksums) unless the frame itself is what is changed.
"""
