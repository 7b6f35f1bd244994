# SPDX-License-Identifier: MPL-2.0
"""Trains the multitalker recognizer: first CTC on single voices until it recognizes words, then RNN-T too, then
conversations in which each speaker has the targets of a diarizer. All training is under streaming conditions. SIGTERM
stops the training with a checkpoint; run the program again to continue.

A second head, which is not exported, predicts the token in every frame, assuming that the duration of a token is
proportional to its letters. This is nearly correct for synthetic voices, and CTC finds its first alignment much sooner.
"""
import random
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from nemo.collections.asr.models import SortformerEncLabelModel
from scipy.optimize import linear_sum_assignment

from conversations import FRAME, Speech, conversation, gated_frames, imitate_diarizer, single
from models import LEFT, RIGHTS, build_asr, diarize, fold_scale, pre_encode, scale_features, train_tokenizer
from training import Means, Training, arguments
from world import sentences

PRE = 9  # mel frames before a chunk; they add 2 encoded frames, which are dropped


def rnnt_loss(logits, targets, frames, tokens):
    """Computes the negative log-likelihood [B] of targets [B, U] given logits [B, T, U + 1, V + 1], with the blank last.

    The loop has one step per frame. Within a frame, emitting tokens is a cumulative sum, so a logcumsumexp covers all
    numbers of tokens at once.
    """
    logp = logits.log_softmax(-1)
    blank = logp[..., -1].double()
    emit = logp[:, :, :-1].gather(3, targets[:, None, :, None].expand(-1, logp.shape[1], -1, 1)).squeeze(3).double()
    walk = F.pad(emit.cumsum(2), (1, 0))  # [B, T, U + 1]
    alpha, ends = walk[:, 0], []
    for t in range(logp.shape[1]):
        if t > 0:
            alpha = walk[:, t] + torch.logcumsumexp(alpha + blank[:, t - 1] - walk[:, t], dim=1)
        ends.append(alpha)
    each = torch.arange(len(targets))
    return -(torch.stack(ends, 1)[each, frames - 1, tokens] + blank[each, frames - 1, tokens]).float()


def edit_distance(a: list, b: list) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def in_order(p, activity):
    """Returns the diarizer's p [frames, 4] with speakers in the order of `activity`, or None if they differ too much."""
    reference = np.pad(activity, ((0, 0), (0, 4 - activity.shape[1])))
    hypothesis = p > 0.5
    both = hypothesis.T.astype(np.float32) @ reference
    rows, columns = linear_sum_assignment(-both)
    wrong = np.maximum(hypothesis.sum(1), reference.sum(1)).sum() - both[rows, columns].sum()
    return p[:, rows[np.argsort(columns)]] if wrong < 0.25 * reference.sum() else None


class Trainer:
    def __init__(self, tokenizer: Path, diarizer: Path | None):
        self.asr = scale_features(build_asr(tokenizer)).eval()  # no dropout anywhere
        self.blank = self.asr.decoder.blank_idx
        self.ctc = torch.nn.Linear(self.asr.cfg.encoder.d_model, self.blank + 1)
        self.naming = torch.nn.Linear(self.asr.cfg.encoder.d_model, self.blank + 1)
        self.diarizer = diarizer and SortformerEncLabelModel.restore_from(str(diarizer), map_location="cpu").eval()

    def modules(self):
        return torch.nn.ModuleList([self.asr, self.ctc, self.naming])

    def token_of_frames(self, talk, k):
        """Returns for each frame the token that speaker k is finishing, or the blank."""
        out = np.full(len(talk.activity), self.blank)
        for turn in talk.turns:
            if turn.speaker == k:
                ids = self.asr.tokenizer.text_to_ids(turn.text)
                letters = np.cumsum([0] + [len(piece) for piece in self.asr.tokenizer.ids_to_tokens(ids)])
                edges = turn.start + (turn.end - turn.start) * letters / letters[-1]
                edges = np.round(edges / FRAME).astype(int) + 1  # one frame later, after the end of the token
                for token, start, end in zip(ids, edges, edges[1:]):
                    out[start:end] = token
        return torch.from_numpy(out)

    @torch.no_grad()
    def features(self, talks):
        """Computes log-mel features [B, 128, T], padded with 0."""
        longest = max(len(t.audio) for t in talks)
        audio = torch.zeros(len(talks), longest)
        for i, t in enumerate(talks):
            audio[i, :len(t.audio)] = torch.from_numpy(t.audio)
        mel, _ = self.asr.preprocessor(input_signal=audio, length=torch.full((len(talks),), longest))
        mel = mel[:, :, :longest // 160]
        for i, t in enumerate(talks):
            mel[i, :, len(t.audio) // 160:] = 0
        return mel

    def probabilities(self, rng, talks, mel):
        """Returns [frames, 4] of each conversation: imitated, or those of the diarizer in half of the batches."""
        probs = [imitate_diarizer(rng, t.activity) for t in talks]
        if self.diarizer and rng.random() < 0.5 and all(len(t.audio) == len(talks[0].audio) for t in talks):
            with torch.no_grad():
                diarized, _ = diarize(self.diarizer, pre_encode(self.diarizer, mel))
            for i, t in enumerate(talks):
                own = in_order(diarized[i].numpy(), t.activity)
                probs[i] = probs[i] if own is None else own
        return probs

    def encode(self, mel, examples, probs, right):
        """Encodes examples (conversation, speaker, frames). Returns [N, T, D] and the numbers of frames."""
        x = pre_encode(self.asr, F.pad(mel, (PRE, 0)))[:, 2:]
        lengths = torch.tensor([len(f) for _, _, f in examples])
        picked = x.new_zeros(len(examples), int(lengths.max()), x.shape[2])
        spk, bg = torch.zeros(picked.shape[:2]), torch.zeros(picked.shape[:2])
        rows = []
        for n, (i, k, frames) in enumerate(examples):
            rows.append(F.pad(x[i, torch.from_numpy(frames)], (0, 0, 0, picked.shape[1] - len(frames))))
            p = probs[i][frames]
            spk[n, :len(frames)] = torch.from_numpy(p[:, k].copy())
            bg[n, :len(frames)] = torch.from_numpy(np.delete(p, k, axis=1).max(axis=1))
        self.asr.set_speaker_targets(spk, bg)
        self.asr.encoder.set_default_att_context_size([LEFT, right])
        encoded, _ = self.asr.encoder(audio_signal=torch.stack(rows), length=lengths, bypass_pre_encode=True)
        return encoded.transpose(1, 2), lengths

    def examples(self, talks, probs, right):
        examples, texts = [], []
        for i, t in enumerate(talks):
            for k in range(4):
                frames = gated_frames(probs[i], k, right + 1)
                if len(frames):
                    examples.append((i, k, frames))
                    texts.append(" ".join(turn.text for turn in t.turns if turn.speaker == k))
        return examples, texts

    def fragments(self, rng):
        """Returns the tokens of sentences, about half of which are fragments."""
        tokens = []
        for sentence in sentences(rng, rng.randint(1, 12), False):
            ids = self.asr.tokenizer.text_to_ids(sentence)
            if rng.random() < 0.5:
                start = rng.randrange(len(ids))
                ids = ids[start:start + rng.randint(1, 5)]
            tokens += [rng.randrange(self.blank) if rng.random() < 0.05 else token for token in ids]
        return tokens

    def predict_after(self, rng, ids):
        """Returns the predictor's outputs [B, U + 1, H], for most examples after a history of earlier sentences.

        The predictor's state is never reset in a stream. It must not get stuck there, waiting for a sentence that never
        comes, so some tokens of the histories are wrong, missing, or another speaker's, as with wrong targets."""
        histories, positions = [], []
        for tokens in ids:
            history = self.fragments(rng) if rng.random() < 0.6 else []
            faults, at = rng.choice((0.0, 0.02, 0.08)), [len(history)]
            for token in tokens:
                fault = rng.random() / faults if faults else 3
                if fault < 1:
                    history.append(rng.randrange(self.blank))
                elif fault >= 2:  # values from 1 to 2 omit the token
                    history.append(token)
                if rng.random() < faults / 4:
                    history += self.fragments(rng)[:rng.randint(1, 6)]
                at.append(len(history))
            histories.append(history)
            positions.append(at)
        whole = torch.zeros(len(ids), max(map(len, histories)), dtype=torch.long)
        steps = torch.zeros(len(ids), max(map(len, positions)), dtype=torch.long)
        for n, (history, at) in enumerate(zip(histories, positions)):
            whole[n, :len(history)] = torch.tensor(history, dtype=torch.long)
            steps[n, :len(at)] = torch.tensor(at)
        g, _ = self.asr.decoder.predict(y=whole, state=None, add_sos=True)
        return g.gather(1, steps[..., None].expand(-1, -1, g.shape[2]))

    def loss(self, rng, talks, with_rnnt):
        right = rng.choice(RIGHTS if with_rnnt else RIGHTS[:2])
        mel = self.features(talks)
        probs = self.probabilities(rng, talks, mel)
        examples, texts = self.examples(talks, probs, right)
        for i in range(len(talks)):
            if rng.random() < 0.5:  # masks a frequency band
                low = rng.randrange(112)
                mel[i, low:low + rng.randint(1, 16)] = -10.0
        encoded, frames = self.encode(mel, examples, probs, right)
        ids = [self.asr.tokenizer.text_to_ids(t) for t in texts]
        tokens = torch.tensor([len(i) for i in ids])
        targets = torch.zeros(len(ids), max(1, int(tokens.max())), dtype=torch.long)
        for n, i in enumerate(ids):
            targets[n, :len(i)] = torch.tensor(i, dtype=torch.long)
        logp = self.ctc(encoded).log_softmax(-1).transpose(0, 1)
        ctc = F.ctc_loss(logp, targets, frames, tokens, blank=self.blank, reduction="none", zero_infinity=True).sum()
        ctc = ctc / tokens.sum().clamp(min=1)
        name = self.naming(encoded).log_softmax(-1)
        spoken = torch.full(name.shape[:2], -100)
        for n, (i, k, picked) in enumerate(examples):
            spoken[n, :len(picked)] = self.token_of_frames(talks[i], k)[picked]
        name = F.nll_loss(name.flatten(0, 1), spoken.flatten(), ignore_index=-100)
        if not with_rnnt:
            return ctc + 2.0 * name, np.array([ctc.item(), 0.0, name.item()])
        g = self.predict_after(rng, ids)
        joint = self.asr.joint
        logits = joint.joint_net(joint.enc(encoded).unsqueeze(2) + joint.pred(g).unsqueeze(1))
        rnnt = rnnt_loss(logits, targets, frames, tokens).sum() / tokens.sum().clamp(min=1)
        return rnnt + 0.3 * ctc + 0.3 * name, np.array([ctc.item(), rnnt.item(), name.item()])

    @torch.no_grad()
    def decode_ctc(self, encoded, frames):
        out = []
        for row, n in zip(self.ctc(encoded).argmax(-1).tolist(), frames.tolist()):
            row = row[:n]
            out.append([t for t, before in zip(row, [self.blank] + row) if t not in (before, self.blank)])
        return out

    @torch.no_grad()
    def decode_rnnt(self, encoded, frames):
        joint, out = self.asr.joint, [[] for _ in frames]
        last = torch.full((len(frames), 1), self.blank)
        state = self.asr.decoder.initialize_state(torch.zeros(len(frames), 1))
        g, ahead = self.asr.decoder.predict(y=last, state=state, add_sos=False)
        f = joint.enc(encoded)
        for t in range(encoded.shape[1]):
            for _ in range(5):
                token = joint.joint_net(f[:, t:t + 1].unsqueeze(2) + joint.pred(g).unsqueeze(1)).reshape(len(frames), -1).argmax(-1)
                emit = (token != self.blank) & (t < frames)
                if not emit.any():
                    break
                for n in torch.nonzero(emit).flatten().tolist():
                    out[n].append(int(token[n]))
                last = torch.where(emit, token, last[:, 0])[:, None]
                state = [torch.where(emit[None, :, None], new, old) for new, old in zip(ahead, state)]
                g, ahead = self.asr.decoder.predict(y=last, state=state, add_sos=False)
        return out

    @torch.no_grad()
    def wer(self, talks, right, rnnt):
        rng = random.Random(5)
        wrong = words = 0
        for at in range(0, len(talks), 32):
            part = talks[at:at + 32]
            probs = [imitate_diarizer(rng, t.activity) for t in part]
            examples, texts = self.examples(part, probs, right)
            encoded, frames = self.encode(self.features(part), examples, probs, right)
            for ids, text in zip((self.decode_rnnt if rnnt else self.decode_ctc)(encoded, frames), texts):
                hypothesis = self.asr.tokenizer.ids_to_text(ids) if ids else ""
                wrong += edit_distance(text.split(), hypothesis.split())
                words += len(text.split())
        return 100 * wrong / words

    @torch.no_grad()
    def calibrate_blank(self, talks):
        """Lowers the blank's bias to minimize the WER, by at most 1, since the WER is the same from 0.75 to 2.

        Greedy decoding emits the blank if it is likelier than any single token, even if it is less likely than all
        tokens together, and therefore misses uncertain words."""
        bias = self.asr.joint.joint_net[-1].bias
        before, found = bias[self.blank].item(), {}
        for less in (0.0, 0.5, 1.0):
            bias[self.blank] = before - less
            found[less] = self.wer(talks, 13, True) + self.wer(talks, 1, True)
        best = min(found, key=found.get)
        bias[self.blank] = before - best
        print(f"bias of the blank lowered by {best}: WER {found[best] / 2:.1f} instead of {found[0.0] / 2:.1f}", flush=True)


def main():
    a = arguments(__doc__, steps=12000, lr=1.5e-3)
    a.add_argument("--rnnt-from", type=int, default=1000)
    a.add_argument("--mix-from", type=int, default=3000)
    a.add_argument("--diarizer", type=Path, metavar="NEMO", help="diarizer whose targets are also used for training")
    o = a.parse_args()
    torch.set_num_threads(o.threads)
    tokenizer = o.out / "tokenizer"
    if not (tokenizer / "vocab.txt").exists():
        train_tokenizer(tokenizer, sentences(random.Random(3), 20000, False))
    speech, trainer = Speech(o.data), Trainer(tokenizer, o.diarizer)
    training = Training(trainer.modules(), o.out / "recognizer.pt", o, warm_up=200)

    rng = random.Random(11)
    checks = {"known": [single(speech, rng, "known") for _ in range(96)],
              "new": [single(speech, rng, "test") for _ in range(96)],
              "mix": [conversation(speech, rng, "test", 1 + i % 3, 11.2, overlap=0.4, vary=0.0) for i in range(24)],
              "long": [conversation(speech, rng, "test", 1 + i % 2, 50.0, overlap=0.2, vary=0.0) for i in range(4)]}
    rng = random.Random(1000 + training.step)
    means = Means("ctc", "rnnt", "name")
    for step in training.steps():
        mixed = step > o.mix_from and rng.random() < min(0.8, (step - o.mix_from) / 500)
        if mixed:
            size, seconds = (2, rng.uniform(18, 26)) if rng.random() < 0.3 else (6, rng.uniform(7, 11.5))
            talks = [conversation(speech, rng, "train", rng.choice((1, 2, 2, 3, 3)), seconds,
                                  overlap=rng.choice((0.1, 0.3, 0.6, 0.8))) for _ in range(size)]
        else:
            talks = [single(speech, rng, "train", easy=step <= o.rnnt_from) for _ in range(16)]
        loss, parts = trainer.loss(rng, talks, step > o.rnnt_from)
        training.learn(loss)
        means.add(step, parts)
        if step % o.check_every == 0 or step == o.steps:
            with training.averaged():
                line = []
                for name, talks in checks.items():
                    if name in ("known", "new") or step > o.mix_from:
                        for right in (13, 1):
                            if step > o.rnnt_from:
                                line.append(f"{name}@{right} {trainer.wer(talks, right, True):.1f}")
                            elif right == 13:
                                line.append(f"ctc {name} {trainer.wer(talks, right, False):.1f}")
                print(f"{step} WER: " + ", ".join(line), flush=True)
            means.clear()
    if training.stopped:
        sys.exit(f"stopped after step {training.step}; run the program again to continue")
    with training.averaged():
        trainer.calibrate_blank([conversation(speech, rng, "known", 2 + i % 2, 24.0, overlap=0.5) for i in range(24)])
        fold_scale(trainer.asr).save_to(str(o.out / "asr.nemo"))


if __name__ == "__main__":
    main()
