"""Texts that end an answer, wherever the vocabulary cuts them: an automaton over bytes that follows whole tokens.

A stop text may begin in the middle of one token and end in the middle of another, so looking at tokens is not enough,
and looking at text means asking the host after each of them. So the automaton that finds any of a request's stop texts
in a stream of bytes (Aho and Corasick, 1975) is stepped over the bytes of every token beforehand:

    stop_table int32 [states, V]: from a state and a token to the next state, FOUND once a stop text is complete
    stop_state int32 [B]:         the state of each row; FREE never finds anything

The device looks one number up for each token, in loops and on beams alike. The host then cuts the text that it decodes.
"""

from collections.abc import Sequence

import numpy as np

FREE, FOUND = 0, -1


class StopTexts:
    """Makes the tables of one vocabulary; those of the last requests are remembered."""

    def __init__(self, token_bytes: Sequence[bytes], vocab_size: int):
        """Takes the bytes that each token adds to a text (none for control ids) and the V of the model's scores."""
        self._vocab_size = vocab_size
        self._lengths = np.zeros(vocab_size, np.int32)
        self._lengths[: len(token_bytes)] = [len(piece) for piece in token_bytes]
        self._bytes = np.zeros((vocab_size, max(1, self._lengths.max(initial=0))), np.uint8)
        for index, piece in enumerate(token_bytes):
            self._bytes[index, : len(piece)] = np.frombuffer(piece, np.uint8)
        self._tables: dict[tuple[str, ...], np.ndarray] = {}

    def settings(self, stops: Sequence[tuple[str, ...]]) -> dict[str, np.ndarray]:
        """Returns `stop_table` and `stop_state` of a batch whose rows have these stop texts.

        The number of states is a power of two, so that few shapes are compiled.
        """
        blocks = [np.full((1, self._vocab_size), FREE, np.int32)]
        starts: dict[tuple[str, ...], int] = {(): FREE}
        num_states = 1
        for texts in stops:
            if texts not in starts:
                block = self._table(texts)
                starts[texts] = num_states
                blocks.append(np.where(block == FOUND, FOUND, block + num_states))
                num_states += len(block)
        room = (1 << (num_states - 1).bit_length()) - num_states
        table = np.concatenate([*blocks, np.zeros((room, self._vocab_size), np.int32)])
        return {"stop_table": table, "stop_state": np.array([starts[texts] for texts in stops], np.int32)}

    def _table(self, texts: tuple[str, ...]) -> np.ndarray:
        """Returns int32 [states, V] of one set of stop texts, state 0 being the beginning."""
        if texts not in self._tables:
            if len(self._tables) >= _REMEMBERED:
                self._tables.pop(next(iter(self._tables)))
            steps = byte_automaton([text.encode("utf-8") for text in texts])
            state = np.repeat(np.arange(len(steps), dtype=np.int32)[:, None], self._vocab_size, axis=1)
            for place in range(self._bytes.shape[1]):
                after = np.where(state == FOUND, FOUND, steps[state, self._bytes[:, place]])
                state = np.where(place < self._lengths, after, state)
            self._tables[texts] = state
        return self._tables[texts]


_REMEMBERED = 16  # CHOICE: more sets of stop texts than a service is asked with


def byte_automaton(words: Sequence[bytes]) -> np.ndarray:
    """Returns int32 [states, 256]: the next state after a byte, FOUND where one of `words` is complete."""
    steps: list[dict[int, int]] = [{}]
    found: set[int] = set()
    for word in words:
        state = 0
        for byte in word:
            if byte not in steps[state]:
                steps[state][byte] = len(steps)
                steps.append({})
            state = steps[state][byte]
        found.add(state)
    table = np.zeros((len(steps), 256), np.int32)
    # A state's failure is the longest proper end of it that is a beginning too; breadth first, it is known before.
    failure, queue = [0] * len(steps), [0]
    for state in queue:
        table[state] = table[failure[state]] if state else 0
        for byte, after in steps[state].items():
            failure[after] = int(table[failure[state], byte]) if state else 0
            table[state, byte] = after
            if failure[after] in found:
                found.add(after)
            queue.append(after)
    return np.where(np.isin(table, sorted(found)), FOUND, table)
