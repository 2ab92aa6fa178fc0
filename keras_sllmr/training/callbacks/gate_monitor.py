"""What the gate does, epoch by epoch: its weights, slices and calibration."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.io.atomic import read_json, write_json
from keras_sllmr.training.calibration_table import calibration

# `tf.summary.scalar` needs TensorBoard itself; a scalar's record does not.
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data={"plugin_name": "scalars"}, data_class="DATA_CLASS_SCALAR"
)


class GateMonitor(keras.callbacks.Callback):
    """Adds what the gate does to each epoch's logs.

    - Over the pairs that the LLM orders in a fixed block of users, the mean α: `alpha`,
      `alpha_cold`, `alpha_warm` (by user), `alpha_tail` (a tail item in the pair) and
      `alpha_head`.
    - Over held-out probes, pairs of a positive and a negative: whether the gate's
      chance that the LLM orders a pair rightly tells right from wrong orderings
      (`gate_auc`) and is to be believed (`gate_ece`, `gate_brier`), see `calibration`.
    - The gate's weights, as `gate_<signal>` and `gate_bias`.

    Args:
        block: a guidance block, see `training.batch`.
        probes: a block with labels of users that the gate does not train on. Defaults
            to none: no calibration.
        table: a JSON file for the calibration tables, one an epoch. Defaults to none.
        log_dir: a folder for the same scalars in TensorBoard's format. Defaults to
            none.
        users_at_once: int. Users weighed at a time. Defaults to `32`.

    Attributes:
        calibration: the last epoch's, see `calibration`.
    """

    def __init__(
        self,
        block: dict[str, Any],
        *,
        probes: dict[str, Any] | None = None,
        table: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        users_at_once: int = 32,
    ) -> None:
        super().__init__()
        self._parts = _parts(block, users_at_once)
        self._probes = _parts(probes, users_at_once) if probes is not None else []
        self._table = Path(table) if table is not None else None
        self._writer = (
            tf.summary.create_file_writer(os.fspath(log_dir))
            if log_dir is not None
            else None
        )
        self._weigh = tf.function(self._sums)
        self._judge = tf.function(self._beliefs)
        self.calibration = calibration([], [])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates the gate."""
        values = {**self._alphas(), **self._calibrate(epoch + 1), **self._weights()}
        if logs is not None:
            logs.update(values)
        if self._writer is not None:
            with self._writer.as_default(step=epoch + 1):
                for name, value in values.items():
                    tf.summary.write(name, np.float32(value), metadata=_SCALAR)
            self._writer.flush()

    def _alphas(self) -> dict[str, float]:
        parts = [self._weigh(part) for part in self._parts]
        values = {}
        for name in parts[0]:
            total, pairs = np.sum([part[name] for part in parts], axis=0)
            if name == "alpha":
                values["alpha_pairs"] = float(pairs)
            if pairs:
                values[name] = float(total / pairs)
        return values

    def _sums(self, block: dict[str, Any]) -> dict[str, Any]:
        """The sum of α and the number of ordered pairs, by slice."""
        alpha, gaps = self.model.pair_weights(block)
        ordered = tf.cast(gaps > 0, alpha.dtype)
        cold = block["signals"]["cold"][:, :, None]
        tail = block["signals"]["tail"]
        tail = tf.maximum(tail[:, :, None], tail[:, None, :])
        slices = {
            "alpha": ordered,
            "alpha_cold": ordered * cold,
            "alpha_warm": ordered * (1 - cold),
            "alpha_tail": ordered * tail,
            "alpha_head": ordered * (1 - tail),
        }
        return {
            name: tf.stack([tf.reduce_sum(alpha * mask), tf.reduce_sum(mask)])
            for name, mask in slices.items()
        }

    def _calibrate(self, number: int) -> dict[str, float]:
        if not self._probes:
            return {}
        parts = [self._judge(part) for part in self._probes]
        chances, right = (np.concatenate(values) for values in zip(*parts, strict=True))
        if not np.isfinite(chances).all():
            return {"gate_brier": np.nan}
        self.calibration = calibration(chances, right)
        if self._table is not None:
            # What a run that goes on has written before; an epoch done again replaces.
            before = read_json(self._table)["epochs"] if self._table.exists() else []
            kept = [entry for entry in before if entry["epoch"] < number]
            epochs = [*kept, {"epoch": number, **self.calibration}]
            write_json(self._table, {"epochs": epochs})
        names = ("auc", "ece", "brier")
        found = {n: self.calibration[n] for n in names if n in self.calibration}
        return {f"gate_{name}": value for name, value in found.items()}

    def _beliefs(self, block: dict[str, Any]) -> tuple[Any, Any]:
        """Chances of the pairs whose right order is known, and whether it is the LLM's."""
        chance, gaps = self.model.pair_beliefs(block)
        label = block["label"]
        first, second = label[:, :, None], label[:, None, :]
        right = (first == 1) & (second == 0)
        wrong = (first == 0) & (second == 1)
        known = (right | wrong) & (gaps > 0)
        return tf.boolean_mask(chance, known), tf.boolean_mask(right, known)

    def _weights(self) -> dict[str, float]:
        gate = self.model.gate
        named = dict(zip(gate.signals, gate.weight.numpy(), strict=True))
        if gate.pair_signals:
            pairs = zip(gate.pair_signals, gate.pair_weight.numpy(), strict=True)
            named.update(pairs)
        named["bias"] = gate.bias.numpy()
        if gate.prior:
            of_prior = zip(gate.signals, gate.prior_weight.numpy(), strict=True)
            named |= {f"prior_{name}": value for name, value in of_prior}
            named["prior_bias"] = gate.prior_bias.numpy()
        return {f"gate_{name}": float(value) for name, value in named.items()}


def _parts(block: dict[str, Any], users_at_once: int) -> list[dict[str, Any]]:
    # Parts bound the memory: a block of 256 users can be 10,000 rows.
    users = tf.nest.flatten(block)[0].shape[0]
    return [
        tf.nest.map_structure(lambda x, i=i: x[i : i + users_at_once], block)
        for i in range(0, users, users_at_once)
    ]
