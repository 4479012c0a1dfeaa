"""A share of the pieces, beside other processes with other shares that know each other only by the folder they share.

A piece is done where its results lie in the folder, and at work where its lock is held. The operating system frees the
lock of a process that ends, so nothing has to guess from clocks whether a piece is abandoned. Where locks of a network
file system do not reach other machines, two may do one piece: that is wasted, never wrong, since both write the same.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from d3s2.base.formats.locks import claimed
from d3s2.execution.pieces import Content, Outcome, Piece, Result, Work, do
from d3s2.execution.settings import Share

POLL_S = 0.5
ELSEWHERE = "another process"


@dataclass(frozen=True)
class Shares:
    """Does the pieces of its share first, then those that nobody works on, and waits for the rest.

    Args:
        share: of this process.
        folder: that all processes share.
    """

    share: Share
    folder: Path

    @property
    def in_this_process(self) -> bool:
        return True

    @property
    def shares(self) -> bool:
        return True

    def run(self, work: Work[Content, Result], pieces: Sequence[Piece[Content]]) -> Iterator[Outcome[Result]]:
        assert work.is_done is not None
        count, number = self.share.count, self.share.number - 1
        own = pieces[number::count]
        # Others' from behind: their owners begin in front.
        others = [piece for turn in range(1, count) for piece in pieces[(number + turn) % count :: count][::-1]]
        left, task = {piece.id: piece for piece in (*own, *others)}, None
        while left:
            before = len(left)
            for piece in list(left.values()):
                outcome: Outcome[Result] | None = None
                if work.is_done(piece.content):
                    outcome = Outcome(piece.id, None, worker=ELSEWHERE)
                else:
                    with claimed(self.folder, f"{work.step}-{piece.id}") as ours:
                        if ours and not work.is_done(piece.content):  # it may be done since a moment
                            task = task or work.task_here()
                            outcome = do(task, piece)
                if outcome is not None:
                    del left[piece.id]
                    yield outcome
            if len(left) == before:
                time.sleep(POLL_S)
