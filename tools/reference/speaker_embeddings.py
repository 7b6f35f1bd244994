#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Records the features and embeddings of speaker models as their frameworks compute them:

    speaker_embeddings.py --packages FOLDER --checkpoint PRETRAINED.PT --models MODELS --audio jfk.wav --out OUT.json

FOLDER holds the unpacked wheels of `pip download --no-deps nemo-toolkit==3.0.0 torchaudio==2.11.0 resemblyzer==0.1.4`;
PRETRAINED.PT is resemblyzer/pretrained.pt in it. MODELS is testdata/speaker-embedding.

- WeSpeaker and 3D-Speaker call `torchaudio.compliance.kaldi.fbank`: WeSpeaker (wespeaker/bin/infer_onnx.py) with 16-bit
  samples and a Hamming window, and it subtracts the mean; 3D-Speaker (speakerlab/process/processor.py) with samples from
  -1 to 1 and the default window. The same features of kaldi-native-fbank have to agree.
- NeMo's features are those of `FilterbankFeatures` with the arguments of SpeakerNet (20 ms) and TitaNet (25 ms).
- Resemblyzer's are those of its own functions, with librosa's defaults.

Needs: pip install torch==2.15.0 librosa==0.11.0 scipy==1.17.1 soundfile==0.14.0 kaldi-native-fbank==1.23.0 onnxruntime==1.32.0
"""
import argparse
import importlib.util
import json
import pathlib
import sys
import types

import kaldi_native_fbank
import numpy as np
import onnxruntime
import scipy.ndimage
import soundfile
import torch

RATE = 16000
# One second of speech.
START, SAMPLES = 14000, 16000
# Frames of the features that are recorded.
FRAMES = [0, 1, 47, 48, -2, -1]
# Lengths of the embedded recordings: less than a part of Resemblyzer, one, two parts of which the second is incomplete,
# and several.
RECORDINGS = [19200, 25600, 31519, 31520, 48000, 112000]


def module(name: str, path: pathlib.Path, **stand_ins):
    """Loads one file of a package, with stand-ins for the rest of the package."""
    for key, value in stand_ins.items():
        sys.modules[key.replace("__", ".")] = value
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def empty(name: str, **values):
    created = types.ModuleType(name)
    vars(created).update(values)
    return created


class Frameworks:
    def __init__(self, packages: pathlib.Path, checkpoint: pathlib.Path):
        self.kaldi = module("kaldi", packages / "torchaudio/compliance/kaldi.py", torchaudio=empty("torchaudio"))
        parts = "nemo.collections.asr.parts.preprocessing"
        logging = types.SimpleNamespace(info=lambda *_: None, warning=print, debug=lambda *_: None)
        names = ["nemo", "nemo.collections", "nemo.collections.asr", "nemo.collections.asr.parts", parts]
        sys.modules |= {name: empty(name) for name in names}
        sys.modules |= {f"{parts}.perturb": empty("perturb", AudioAugmentor=None),
                        f"{parts}.segment": empty("segment", AudioSegment=None),
                        "nemo.utils": empty("nemo.utils", logging=logging)}
        self.nemo = module("nemo_features", packages / parts.replace(".", "/") / "features.py")
        # The voice activity detection is not used, and a module of scipy was renamed.
        sys.modules |= {"webrtcvad": empty("webrtcvad"), "scipy.ndimage.morphology": empty(
            "scipy.ndimage.morphology", binary_dilation=scipy.ndimage.binary_dilation)}
        sys.path.insert(0, str(packages))
        import resemblyzer
        self.resemblyzer = resemblyzer
        self.encoder = resemblyzer.VoiceEncoder("cpu", verbose=False, weights_fpath=checkpoint)

    def fbank(self, samples, window: str):
        """Returns torchaudio's features, checked against kaldi-native-fbank."""
        found = self.kaldi.fbank(torch.from_numpy(samples)[None], num_mel_bins=80, frame_length=25, frame_shift=10,
                                 dither=0.0, sample_frequency=RATE, window_type=window, use_energy=False).numpy()
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.dither, options.frame_opts.window_type = 0, window
        options.frame_opts.samp_freq, options.mel_opts.num_bins = RATE, 80
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(RATE, samples.tolist())
        fbank.input_finished()
        other = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
        assert found.shape == other.shape
        print(f"{window}: {np.abs(found - other).max():.2e} between torchaudio and kaldi-native-fbank")
        assert np.allclose(found, other, atol=5e-3)
        return found

    def wespeaker(self, samples):
        features = self.fbank(samples * np.float32(1 << 15), "hamming")
        return features - features.mean(0)

    def three_d_speaker(self, samples):
        features = self.fbank(samples, "povey")
        return features - features.mean(0)

    def nemo_features(self, samples, mels: int, window_ms: int):
        extractor = self.nemo.FilterbankFeatures(
            sample_rate=RATE, n_window_size=RATE * window_ms // 1000, n_window_stride=RATE // 100, window="hann",
            normalize="per_feature", n_fft=512, nfilt=mels, dither=1e-5, pad_to=16, frame_splicing=1)
        extractor.eval()
        features, lengths = extractor(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
        return features[0].numpy().T, int(lengths[0])

    def speakernet(self, samples):
        features, frames = self.nemo_features(samples, 64, 20)
        return features[:frames]

    def titanet(self, samples):
        features, frames = self.nemo_features(samples, 80, 25)
        return features[:frames]

    def loud(self, samples):
        return self.resemblyzer.normalize_volume(samples, -30, increase_only=True)

    def resemblyzer_features(self, samples):
        """Returns the frames that `embed_utterance` uses for at most 1.6 s, which are one part."""
        padded = np.pad(self.loud(samples), (0, 160 * RATE // 100 - len(samples)))
        return self.resemblyzer.wav_to_mel_spectrogram(padded)

    def embeddings(self, models: pathlib.Path, name: str, samples):
        """Returns the embedding of a recording, with the framework's features."""
        session = onnxruntime.InferenceSession(models / f"{name}.onnx")
        names = [value.name for value in session.get_inputs()]
        if name == "nemo":
            features, frames = self.nemo_features(samples, 64, 20)
            embedding = session.run(["embs"], {names[0]: features.T[None], names[1]: [frames]})[0][0]
        else:
            features = {"wespeaker": self.wespeaker, "3d-speaker": self.three_d_speaker}[name](samples)
            embedding = session.run(None, {names[0]: features[None]})[0][0]
        return embedding / np.linalg.norm(embedding)


def rounded(values):
    return [float(f"{value:.7g}") for value in np.asarray(values).ravel()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("packages", "checkpoint", "models", "audio", "out"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    args = parser.parse_args()
    audio, rate = soundfile.read(args.audio, dtype="float32")
    assert rate == RATE
    frameworks = Frameworks(args.packages, args.checkpoint)
    second = audio[START:START + SAMPLES]
    features = {}
    for name, compute in [("wespeaker", frameworks.wespeaker), ("3d-speaker", frameworks.three_d_speaker),
                          ("speakernet", frameworks.speakernet), ("titanet", frameworks.titanet),
                          ("resemblyzer", frameworks.resemblyzer_features)]:
        found = compute(second)
        rows = [frame % len(found) for frame in FRAMES]
        features[name] = {"count": len(found), "rows": {str(row): rounded(found[row]) for row in rows}}
    embeddings = {name: rounded(frameworks.embeddings(args.models, name, audio[START:START + RECORDINGS[-1]]))
                  for name in ("wespeaker", "3d-speaker", "nemo")}
    # The second recording is so quiet that its volume changes.
    resemblyzer = [{"gain": gain, "samples": samples, "embedding": rounded(frameworks.encoder.embed_utterance(
        frameworks.loud(audio[START:START + samples] * np.float32(gain))))}
        for gain, samples in [(1, samples) for samples in RECORDINGS] + [(0.03125, 48000)]]
    document = {"start": START, "samples": SAMPLES, "features": features, "recording": RECORDINGS[-1],
                "embeddings": embeddings, "resemblyzer": resemblyzer}
    args.out.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
