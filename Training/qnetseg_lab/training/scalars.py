"""What a training run notes as it goes: a readable CSV, and TensorBoard's files where that is installed."""

from __future__ import annotations

from pathlib import Path

from qnetseg.atomic import replacing
from qnetseg.errors import OutputError, why


class Scalars:
    """Losses by step in `scalars.csv`, also for TensorBoard.

    What a killed run wrote after its last checkpoint is dropped, because it is computed again.
    """

    def __init__(self, folder: Path, done: int) -> None:
        """`done`: steps of the checkpoint that the run goes on from."""
        self.folder, self.done = folder, done
        self.path = folder / "scalars.csv"

    def __enter__(self) -> Scalars:
        try:
            self._drop_lost_steps()
            self.csv = open(self.path, "a", encoding="utf-8")
        except OSError as error:
            raise self._problem(error) from error
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            self.board = SummaryWriter(str(self.folder), purge_step=self.done + 1)
        return self

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add one line. Raises OutputError where the disk is full."""
        try:
            if self.csv.tell() == 0:
                self.csv.write("step," + ",".join(values) + "\n")
            self.csv.write(f"{step}," + ",".join(f"{value:.6g}" for value in values.values()) + "\n")
            self.csv.flush()
        except OSError as error:
            raise self._problem(error) from error
        for name, value in values.items():
            if self.board is not None:
                self.board.add_scalar(name, value, step)

    def __exit__(self, *_: object) -> None:
        self.csv.close()
        if self.board is not None:
            self.board.close()

    def _drop_lost_steps(self) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.is_file() else []
        kept = [
            line
            for line in lines
            if line.endswith("\n") and (line.startswith("step") or int(line.split(",")[0]) <= self.done)
        ]
        with replacing(self.path) as part:
            part.write_text("".join(kept), encoding="utf-8")

    def _problem(self, error: OSError) -> OutputError:
        return OutputError(
            f"The file {self.path} cannot be written ({why(error)}).",
            "Free some space or change the folder's permissions and start again; a checkpoint goes on.",
        )
