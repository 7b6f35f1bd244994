# SPDX-License-Identifier: MPL-2.0
"""Trains the streaming diarizer, first on windows from the beginning of a conversation, then also on its later inputs
[speaker cache, FIFO, chunk], which NeMo's own cache update produces for each operating point of the engine. SIGTERM
stops the training with a checkpoint; run the program again to continue.

In addition to the two losses of Sortformer (speakers in order of arrival, and in the best order), a small head
classifies the training voice in frames where one person speaks. It is not exported. With it, the network learns much
sooner which features distinguish voices.
"""
import copy
import itertools
import math
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F

from conversations import Speech, conversation, imitate_diarizer
from models import build_diar, diarize, fold_scale, pre_encode, scale_features
from training import Means, Training, arguments

# Chunk, right context, FIFO, and update period in frames of 80 ms.
POINTS = {"lockstep": (14, 0, 188, 144), "1s": (6, 7, 188, 144), "10s": (124, 1, 124, 124), "30s": (340, 40, 40, 300)}
ORDERS = list(itertools.permutations(range(4)))
FACTORS = (0.9, 1.0, 1.11)  # resampling factors that make a voice sound like different people


def set_point(modules, name: str):
    modules.chunk_len, modules.chunk_right_context, modules.fifo_len, modules.spkcache_update_period = POINTS[name]


def context_frames(modules, p: torch.Tensor, name: str, wanted: list[int]):
    """Yields the frames in [cache, FIFO, chunk] at the wanted chunks as index tensors [B, L], given probabilities
    p [B, T, 4].

    NeMo's update runs on the numbers of the frames instead of their embeddings. -1 is the silence that it inserts
    between speakers.
    """
    set_point(modules, name)
    chunk, right = POINTS[name][:2]
    modules._get_silence_profile = lambda mean, count, embs, preds: (mean, count)
    state = modules.init_streaming_state(batch_size=len(p))
    state.spkcache, state.fifo = torch.zeros(len(p), 0, 1), torch.zeros(len(p), 0, 1)
    state.mean_sil_emb = torch.full((len(p), 1), -1.0)
    quiet = F.pad(p, (0, 0, 0, 1))  # index -1 is silence
    for j in range(max(wanted) + 1):
        start, end = j * chunk, min((j + 1) * chunk, p.shape[1])
        left, ahead = min(1, start), min(right, p.shape[1] - end)
        new = torch.arange(start - left, end + ahead).float()[None, :, None].expand(len(p), -1, 1)
        frames = torch.cat([state.spkcache, state.fifo, new], dim=1)[..., 0].long()
        if j in wanted:
            yield frames
        preds = quiet.gather(1, (frames % quiet.shape[1])[..., None].expand(-1, -1, 4))
        state, _ = modules.streaming_update(state, chunk=new, preds=preds, lc=left, rc=ahead)


def losses(p, labels):
    """Returns the cross entropy with speakers in order of arrival and in the best order. p and labels are [B, T, 4]."""
    p = p.clamp(1e-6, 1 - 1e-6)
    cost = -(labels[:, :, None] * p.log()[..., None] + (1 - labels[:, :, None]) * (1 - p).log()[..., None]).mean(1)  # [B, output, label]
    totals = torch.stack([sum(cost[:, k, order[k]] for k in range(4)) / 4 for order in ORDERS], dim=1)
    return totals[:, 0].mean(), totals.min(dim=1).values.mean()


class Trainer:
    def __init__(self, voices: list[str], naming: float):
        self.naming = naming
        self.diar = scale_features(build_diar())
        self.people = {v: i for i, v in enumerate(voices)}
        self.who = torch.nn.Linear(self.diar.cfg.model_defaults.tf_d_model, len(voices) * len(FACTORS))
        self.similar = None
        self.cache_modules = copy.deepcopy(self.diar.sortformer_modules).eval()

    def modules(self):
        return torch.nn.ModuleList([self.diar, self.who])

    def embed(self, talks):
        audio = torch.from_numpy(np.stack([t.audio for t in talks]))
        with torch.no_grad():
            mel, _ = self.diar.preprocessor(input_signal=audio, length=torch.full((len(talks),), audio.shape[1]))
        return pre_encode(self.diar, mel[:, :, :audio.shape[1] // 160])

    @torch.no_grad()
    def find_similar(self, rng, speech):
        """Finds the most similar voices of other origins for each voice and factor, according to the network."""
        people = [(v, f) for v in self.people for f in FACTORS]
        talks = [conversation(speech, rng, "train", 1, 12.0, names=[v], factors=[f]) for v, f in people]
        means = []
        for at in range(0, len(talks), 16):
            part = talks[at:at + 16]
            _, frames = diarize(self.diar, self.embed(part))
            means += [x[torch.from_numpy(t.activity[:, 0]) > 0.5].mean(0) for x, t in zip(frames, part)]
        means = torch.stack(means)
        means = F.normalize(means - means.mean(0), dim=1)
        self.similar = {}
        for person, row in zip(people, (means @ means.T).argsort(dim=1, descending=True).tolist()):
            others = [people[i] for i in row if speech.base[people[i][0]] != speech.base[person[0]]]
            self.similar[person] = others[:10]

    def cast(self, rng, speech, speakers):
        """Picks voices and factors. Three out of ten casts are similar voices."""
        if self.similar is None or rng.random() < 0.7:
            return speech.pick_voices(rng, "train", speakers), [rng.choice(FACTORS) for _ in range(speakers)]
        while True:
            first = rng.choice(list(self.similar))
            cast = [first, *rng.sample(self.similar[first], speakers - 1)]
            if len({speech.base[v] for v, _ in cast}) == speakers:
                return [v for v, _ in cast], [f for _, f in cast]

    def talks(self, rng, speech, count, seconds):
        out = []
        for _ in range(count):
            speakers = rng.choices((1, 2, 3, 4), (2, 3, 4, 4))[0]
            names, factors = self.cast(rng, speech, speakers)
            t = conversation(speech, rng, "train", speakers, seconds, overlap=rng.choice((0.1, 0.3, 0.5, 0.8)),
                             factors=[f * rng.uniform(0.98, 1.02) for f in factors], names=names)
            t.person = [self.people[v] * len(FACTORS) + min(range(len(FACTORS)), key=lambda i: abs(FACTORS[i] - f))
                        for v, f in zip(t.voices, t.factors)]
            out.append(t)
        return out

    def labels(self, talks):
        y = torch.zeros(len(talks), max(len(t.activity) for t in talks), 4)
        who = torch.full(y.shape[:2], -100)
        for i, t in enumerate(talks):
            y[i, :, :t.activity.shape[1]] = torch.from_numpy(t.activity)
            alone = y[i].sum(1) == 1
            who[i, alone] = torch.tensor(t.person)[y[i].argmax(1)[alone]]
        return y, who

    def loss(self, rng, talks, point=None):
        embs = self.embed(talks)
        y, who = self.labels(talks)
        if point is None:
            batches = [(embs, y, who)]
        else:
            noisy = torch.from_numpy(np.stack([imitate_diarizer(rng, np.pad(t.activity, ((0, 0), (0, 4 - t.activity.shape[1])))) for t in talks]))
            quiet = (noisy.sum(2) < 0.2).float()
            silence = (embs * quiet[..., None]).sum(1) / quiet.sum(1, keepdim=True).clamp(min=1)
            padded = torch.cat([embs, silence[:, None]], dim=1)
            y, who = F.pad(y, (0, 0, 0, 1)), F.pad(who, (0, 1), value=-100)
            chunks = math.ceil(embs.shape[1] / POINTS[point][0])
            wanted = sorted(rng.sample(range(chunks), min(2, chunks)))
            batches = []
            for frames in context_frames(self.cache_modules, noisy, point, wanted):
                at = (frames % padded.shape[1])[..., None]
                batches.append((padded.gather(1, at.expand(-1, -1, embs.shape[2])), y.gather(1, at.expand(-1, -1, 4)), who.gather(1, at[..., 0])))
        total, parts = 0, np.zeros(3)
        for x, y, who in batches:
            p, frames = diarize(self.diar, x)
            arrival, best = losses(p, y)
            name = F.cross_entropy(self.who(frames).flatten(0, 1), who.flatten(), ignore_index=-100)
            name = name if torch.isfinite(name) else torch.zeros(())
            total = total + (arrival + best + self.naming * name) / len(batches)
            parts += np.array([arrival.item(), best.item(), name.item()]) / len(batches)
        return total, parts

    @torch.no_grad()
    def stream(self, talk, point):
        """Computes probabilities [T, 4] of an entire conversation with NeMo's own streaming step."""
        diar, (chunk, right) = self.diar, POINTS[point][:2]
        set_point(diar.sortformer_modules, point)
        audio = torch.from_numpy(talk.audio)[None]
        mel, _ = diar.preprocessor(input_signal=audio, length=torch.tensor([audio.shape[1]]))
        mel = mel[:, :, :audio.shape[1] // 160]
        state, total = diar.sortformer_modules.init_streaming_state(batch_size=1), torch.zeros(1, 0, 4)
        for start in range(0, mel.shape[2], 8 * chunk):
            end = min(start + 8 * chunk, mel.shape[2])
            left, ahead = min(8, start), min(8 * right, mel.shape[2] - end)
            x = mel[:, :, start - left:end + ahead].transpose(1, 2)
            state, total = diar.forward_streaming_step(
                processed_signal=x, processed_signal_length=torch.tensor([x.shape[1]]), streaming_state=state,
                total_preds=total, left_offset=left, right_offset=ahead)
        return total[0].numpy()

    def der(self, talks, point=None):
        """Returns wrong frames in % of spoken frames, with the best assignment of speakers and without a collar."""
        self.diar.eval()
        wrong = spoken = 0
        for talk in talks:
            if point:
                p = self.stream(talk, point)
            else:
                with torch.no_grad():
                    p = diarize(self.diar, self.embed([talk]))[0][0].numpy()
            hyp, ref = p > 0.5, np.pad(talk.activity, ((0, 0), (0, 4 - talk.activity.shape[1]))) > 0.5
            most = np.maximum(hyp.sum(1), ref.sum(1)).sum()
            wrong += most - max(sum((hyp[:, k] & ref[:, order[k]]).sum() for k in range(4)) for order in ORDERS)
            spoken += ref.sum()
        self.diar.train()
        return 100 * wrong / spoken


def main():
    a = arguments(__doc__, steps=20000, lr=1e-3)
    a.add_argument("--cache-from", type=int, default=3000)
    a.add_argument("--naming", type=float, default=0.3, help="weight of the voice classification (default: 0.3)")
    o = a.parse_args()
    torch.set_num_threads(o.threads)
    speech = Speech(o.data)
    trainer = Trainer(sorted(speech.rows["train"]), o.naming)
    training = Training(trainer.modules().train(), o.out / "diarizer.pt", o, warm_up=300)

    rng = random.Random(12)
    checks = [conversation(speech, rng, "test", 1 + i % 4, 16.0, overlap=0.4, vary=0.0) for i in range(24)]
    long_checks = [conversation(speech, rng, "test", 1 + i % 4, 60.0, overlap=0.4, vary=0.0) for i in range(8)]
    rng = random.Random(2000 + training.step)
    means = Means("arrival", "best", "name")
    for step in training.steps():
        if step > o.cache_from and (trainer.similar is None or step % 1000 == 0):
            trainer.find_similar(rng, speech)
        if step > o.cache_from and rng.random() < 0.6:
            loss, parts = trainer.loss(rng, trainer.talks(rng, speech, 3, rng.uniform(20, 80)), rng.choice(list(POINTS)))
        else:
            loss, parts = trainer.loss(rng, trainer.talks(rng, speech, 8, rng.uniform(6, 24)))
        training.learn(loss)
        means.add(step, parts)
        if step % o.check_every == 0 or step == o.steps:
            with training.averaged():
                line = [f"windows {trainer.der(checks):.1f}"]
                if step > o.cache_from:
                    line += [f"{point} {trainer.der(long_checks, point):.1f}" for point in ("lockstep", "30s")]
                print(f"{step} DER: " + ", ".join(line), flush=True)
            means.clear()
    if training.stopped:
        sys.exit(f"stopped after step {training.step}; run the program again to continue")
    with training.averaged():
        fold_scale(trainer.diar).save_to(str(o.out / "diar.nemo"))


if __name__ == "__main__":
    main()
