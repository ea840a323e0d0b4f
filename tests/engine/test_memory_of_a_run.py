"""A long training keeps nothing of its steps."""

import gc

import torch

from detkit.engine.callbacks.ema import MovingAverage


def test_no_tensor_of_a_step_is_kept(recipe, detkit_command, monkeypatch):
    counts: list[int] = []
    usual = MovingAverage.on_train_batch_end

    def counting(self, trainer, module, *args) -> None:
        usual(self, trainer, module, *args)
        if trainer.global_step not in (6, 10, 24, 28):
            return
        gc.collect()
        counts.append(sum(type(one) in (torch.Tensor, torch.nn.Parameter) for one in gc.get_objects()))

    monkeypatch.setattr(MovingAverage, "on_train_batch_end", counting)
    trainer = {"max_epochs": 5, "check_val_every_n_epoch": 5, "log_every_n_steps": 2, "gradient_clip_val": 1.0}
    trainer |= {"accelerator": "cpu", "num_sanity_val_steps": 0, "precision": "bf16-mixed"}
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01, "fused": True}}
    status, said = detkit_command("train", "--config", recipe(ema=0.9, trainer=trainer, optimizer=optimizer))
    assert status == 0, said
    first, second, *late = counts  # at two positions in an epoch of six steps, and three epochs later
    assert late == [first, second]
