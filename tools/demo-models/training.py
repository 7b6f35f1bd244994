# SPDX-License-Identifier: MPL-2.0
"""Shared code of both trainings: the optimizer and its learning rate, averaged weights for testing and export, and
checkpoints, including one on SIGTERM."""
import argparse
import contextlib
import signal
import time
from pathlib import Path

import numpy as np
import torch


def arguments(description: str, steps: int, lr: float) -> argparse.ArgumentParser:
    a = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--data", type=Path, required=True)
    a.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the exported model")
    a.add_argument("--steps", type=int, default=steps, help="number of steps; the learning rate decreases over the last 40%% (default: %(default)s)")
    a.add_argument("--lr", type=float, default=lr, help="maximum learning rate (default: %(default)s)")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--check-every", type=int, default=250)
    return a


class Training:
    """Trains `modules` with AdamW, starting from the checkpoint if it exists."""

    def __init__(self, modules: torch.nn.Module, checkpoint: Path, options: argparse.Namespace, warm_up: int):
        self.modules, self.checkpoint, self.options, self.warm_up = modules, checkpoint, options, warm_up
        self.optimizer = torch.optim.AdamW(modules.parameters(), lr=options.lr, betas=(0.9, 0.98), weight_decay=1e-3)
        self.average = {n: v.detach().clone() for n, v in modules.state_dict().items() if v.is_floating_point()}
        self.step, self.stopped = 0, False
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if checkpoint.exists():
            saved = torch.load(checkpoint, weights_only=True)
            modules.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.average.update(saved["average"])
            self.step = saved["step"]
            print(f"continuing from step {self.step}", flush=True)
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, *_):
        self.stopped = True

    def steps(self):
        """Yields the numbers of the remaining steps and saves a checkpoint every 100 steps."""
        while self.step < self.options.steps and not self.stopped:
            self.step += 1
            yield self.step
            if self.step % 100 == 0 or self.step == self.options.steps or self.stopped:
                self.save()

    def learn(self, loss: torch.Tensor):
        left = (self.options.steps - self.step) / (0.4 * self.options.steps)
        lr = self.options.lr * min(1.0, self.step / self.warm_up, max(0.02, left))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), 2.0)
        self.optimizer.step()
        keep = min(0.998, self.step / (self.step + 20))
        with torch.no_grad():
            for n, v in self.modules.state_dict().items():
                if n in self.average:
                    self.average[n].lerp_(v, 1 - keep)

    @contextlib.contextmanager
    def averaged(self):
        """Sets the averaged weights for the duration of the context."""
        live = {n: v.detach().clone() for n, v in self.modules.state_dict().items()}
        self.modules.load_state_dict(self.average, strict=False)
        yield
        self.modules.load_state_dict(live)

    def save(self):
        state = dict(model=self.modules.state_dict(), optimizer=self.optimizer.state_dict(), average=self.average, step=self.step)
        torch.save(state, self.checkpoint.with_suffix(".tmp"))
        self.checkpoint.with_suffix(".tmp").rename(self.checkpoint)


class Means:
    """Prints the means of the loss components every 50 steps."""

    def __init__(self, *names: str):
        self.names = names
        self.clear()

    def clear(self):
        self.began, self.sums, self.count = time.time(), np.zeros(len(self.names)), 0

    def add(self, step: int, parts: np.ndarray):
        self.sums, self.count = self.sums + parts, self.count + 1
        if step % 50 == 0:
            means = " ".join(f"{name} {mean:.3f}" for name, mean in zip(self.names, self.sums / self.count))
            print(f"{step} {means} {(time.time() - self.began) / self.count:.2f} s/step", flush=True)
            self.clear()
