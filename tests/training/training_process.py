"""One process of a training on several; run by the tests, not one itself."""

import json
import os
import signal
import sys
from pathlib import Path

from keras_sllmr.compat import keras, tf
from keras_sllmr.training.strategies import serve, strategy_named


class KillAt(keras.callbacks.Callback):
    """Kills when an epoch begins, or after a step of it."""

    def __init__(self, epoch, step):
        super().__init__()
        self.place, self._supports_tf_logs = (epoch, step), True

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.kill_if((epoch, None))

    def on_train_batch_end(self, batch, logs=None):
        self.kill_if((self.epoch, batch))

    def kill_if(self, place):
        if self.place == place:
            os.kill(os.getpid(), signal.SIGKILL)


def main(given):
    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if given["strategy"] == "mirrored":
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    elif serve(given["strategy"]):
        return
    else:
        strategy = strategy_named(
            given["strategy"],
            timeout=given["timeout"],
            part_mb=given.get("part_mb", 64.0),
        )
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.split import LeaveOneOut
    from keras_sllmr.training.offline_inputs import opened
    from keras_sllmr.training.settings import TrainSettings
    from keras_sllmr.training.train import train

    store = FeatureStore(given["store"])
    for method, path, settings in given["models"]:
        train(
            method,
            LeaveOneOut(store),
            path,
            settings=TrainSettings.model_validate(settings),
            **opened(given["tables"], store).tables,
            strategy=strategy,
            callbacks=lambda done, steps: [
                KillAt(given.get("kill_at"), given.get("kill_step"))
            ],
            backup_every=given.get("backup_every"),
        )
    # A thread a step would end a long training.
    assert len(list(Path("/proc/self/task").glob("*"))) < 1000


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
