"""Learning rates over time."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_rnn_ext")
class HoldThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    r"""A learning rate that is held for some epochs and then shrinks by a factor each epoch.

    $$\eta(e) = \eta_0 \, d^{\max(0,\, e + 1 - h)}, \quad e = \lfloor \text{step} / \text{steps per epoch} \rfloor$$

    Args:
        initial_learning_rate: $\eta_0$, the rate of the first epochs.
        hold_epochs: $h$, how many epochs have that rate.
        decay: $d$, the factor from each epoch to the next after these, above 0.
        steps_per_epoch: updates of the weights in an epoch. Default 1: the schedule then counts epochs, and serves
            `keras.callbacks.LearningRateScheduler(lambda epoch: float(schedule(epoch)))`.
        name: of the schedule.

    Returns:
        Called with a step (an integer or a tensor, from 0), the learning rate, a scalar tensor.

    Raises:
        ValueError: naming the argument that is out of range.

    Source: Zaremba, Sutskever and Vinyals, "Recurrent Neural Network Regularization", 2014, arXiv:1409.2329, section
    4.1: their small model holds 1.0 for 4 epochs and then halves it.

    >>> schedule = HoldThenDecay(1.0, hold_epochs=10, decay=0.93)
    >>> [round(float(schedule(epoch)), 4) for epoch in (0, 9, 10, 11)]
    [1.0, 1.0, 0.93, 0.8649]
    """

    def __init__(self, initial_learning_rate, hold_epochs, decay, steps_per_epoch=1, name="hold_then_decay"):
        for argument, value in {"initial_learning_rate": initial_learning_rate, "decay": decay}.items():
            if not value > 0:
                raise ValueError(f"Argument `{argument}` must be above 0. Received: {argument}={value!r}")
        for argument, value, least in (("hold_epochs", hold_epochs, 0), ("steps_per_epoch", steps_per_epoch, 1)):
            if int(value) != value or value < least:
                raise ValueError(
                    f"Argument `{argument}` must be an integer, at least {least}. Received: {argument}={value!r}"
                )
        super().__init__()
        self.initial_learning_rate, self.hold_epochs, self.decay = initial_learning_rate, hold_epochs, decay
        self.steps_per_epoch, self.name = steps_per_epoch, name

    def __call__(self, step):
        # Whole numbers, up to the power: float32 cannot count beyond 2**24 steps.
        epoch = ops.floor_divide(ops.cast(step, "int32"), int(self.steps_per_epoch))
        shrinkings = ops.cast(ops.maximum(epoch + 1 - int(self.hold_epochs), 0), "float32")
        return self.initial_learning_rate * ops.power(ops.cast(self.decay, "float32"), shrinkings)

    def get_config(self):
        names = ("initial_learning_rate", "hold_epochs", "decay", "steps_per_epoch", "name")
        return {name: getattr(self, name) for name in names}
