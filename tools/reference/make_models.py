#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Builds models with the exact ONNX interface of the published checkpoints and random weights.

The published files (multitalker-parakeet-streaming-0.6b-v1 ONNX and Streaming Sortformer v2 ONNX) are large and have
another license. Therefore this program builds NeMo's own classes with the published architecture and seeded random
weights, and exports them with the same input and output names, ranks, baked-in constants, and metadata. There are two
sizes:

  --size tiny   a few MB, for tests; every dimension deliberately differs from the published one, so code that
                hard-codes a dimension fails
  --size full   the published dimensions (600M + 120M parameters, 2.9 GB in fp32), for measuring speed and memory

With --calibrate, the last layers are scaled so that the outputs of the untrained networks vary: the joint network emits
a token in some of the frames, and the diarizer's probabilities range from 0 to 1.

Needs: pip install "nemo-toolkit[asr]==3.0.0" onnx onnxruntime sentencepiece
"""
import argparse
import json
import os
import shutil
import sys
import types
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ.setdefault("NEMO_TESTING", "1")

import onnx
import sentencepiece as spm
import torch
from omegaconf import OmegaConf
from sentencepiece import sentencepiece_model_pb2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "export-models"))
from export import DecoderJoint, EncoderWithTargets, diarizer_step  # noqa: E402

SIZES = {
    "tiny": dict(
        enc=dict(d_model=64, n_layers=3, n_heads=4, conv_kernel_size=9, channels=32, left=28, pos=256),
        pred=dict(hidden=48, layers=2), joint=56, vocab=96,
        diar=dict(d_model=48, n_layers=2, n_heads=4, channels=16, tf=32, tf_layers=2, tf_inner=64, tf_heads=4, pos=640),
    ),
    "full": dict(
        enc=dict(d_model=1024, n_layers=24, n_heads=8, conv_kernel_size=9, channels=256, left=70, pos=5000),
        pred=dict(hidden=640, layers=2), joint=640, vocab=1024,
        diar=dict(d_model=512, n_layers=17, n_heads=8, channels=256, tf=192, tf_layers=18, tf_inner=768, tf_heads=8, pos=5000),
    ),
}
N_MELS = 128


def train_tokenizer(out: Path, vocab: int) -> Path:
    """Trains a SentencePiece BPE model on English text from the Python library. Returns NeMo's tokenizer folder."""
    folder = out / "tokenizer"
    folder.mkdir(exist_ok=True)
    corpus = folder / "corpus.txt"
    import pydoc_data.topics as topics
    text = " ".join(topics.topics.values())
    words = [w for w in text.split() if w.replace("'", "").isalpha()]
    with corpus.open("w") as f:
        for i in range(0, len(words), 16):
            f.write(" ".join(words[i:i + 16]) + "\n")
    spm.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=vocab, model_type="bpe",
        character_coverage=1.0, bos_id=-1, eos_id=-1, unk_id=0, minloglevel=2)
    corpus.unlink()
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((folder / "tokenizer.model").read_bytes())
    proto.trainer_spec.ClearField("input")  # no local paths in the model
    proto.trainer_spec.ClearField("model_prefix")
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    pieces = [line.split("\t")[0] for line in (folder / "tokenizer.vocab").read_text().splitlines()]
    (folder / "vocab.txt").write_text("\n".join(pieces[1:]) + "\n")
    shutil.copy(folder / "tokenizer.model", out / "tokenizer.model")
    return folder


def asr_config(size: dict, tok_dir: Path):
    e, p = size["enc"], size["pred"]
    left = e["left"]
    return OmegaConf.create({
        "sample_rate": 16000,
        "spk_kernel_type": "ff", "spk_kernel_layers": [0], "add_bg_spk_kernel": True,
        "model_defaults": {"enc_hidden": e["d_model"], "pred_hidden": p["hidden"], "joint_hidden": size["joint"]},
        "tokenizer": {"dir": str(tok_dir), "type": "bpe"},
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            "sample_rate": 16000, "normalize": "NA", "window_size": 0.025, "window_stride": 0.01, "window": "hann",
            "features": N_MELS, "n_fft": 512, "frame_splicing": 1, "dither": 0.0, "pad_to": 0},
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConformerEncoder",
            "feat_in": N_MELS, "feat_out": -1, "n_layers": e["n_layers"], "d_model": e["d_model"], "use_bias": False,
            "subsampling": "dw_striding", "subsampling_factor": 8, "subsampling_conv_channels": e["channels"],
            "causal_downsampling": True, "ff_expansion_factor": 4, "self_attention_model": "rel_pos",
            "n_heads": e["n_heads"],
            "att_context_size": [[left, 13], [left, 6], [left, 1], [left, 0]] if left % 14 == 0 and left % 7 == 0 else [left, 13],
            "att_context_style": "chunked_limited", "att_context_probs": None, "xscaling": False,
            "pos_emb_max_len": e["pos"], "conv_kernel_size": e["conv_kernel_size"], "conv_norm_type": "layer_norm",
            "conv_context_size": "causal", "dropout": 0.0, "dropout_pre_encoder": 0.0, "dropout_emb": 0.0,
            "dropout_att": 0.0, "stochastic_depth_drop_prob": 0.0},
        "decoder": {
            "_target_": "nemo.collections.asr.modules.RNNTDecoder", "normalization_mode": None,
            "random_state_sampling": False, "blank_as_pad": True,
            "prednet": {"pred_hidden": p["hidden"], "pred_rnn_layers": p["layers"], "t_max": None, "dropout": 0.0}},
        "joint": {
            "_target_": "nemo.collections.asr.modules.RNNTJoint", "log_softmax": None, "preserve_memory": False,
            "fuse_loss_wer": False,
            "jointnet": {"joint_hidden": size["joint"], "activation": "relu", "dropout": 0.0}},
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "default"},
    })


def diar_config(size: dict):
    d = size["diar"]
    ds = {"manifest_filepath": None, "sample_rate": 16000, "num_spks": 4, "session_len_sec": 90,
          "soft_label_thres": 0.5, "soft_targets": False, "labels": None, "batch_size": 1, "shuffle": False,
          "num_workers": 0, "use_lhotse": False, "validation_mode": True, "window_stride": 0.01,
          "subsampling_factor": 8}
    return OmegaConf.create({
        "sample_rate": 16000, "pil_weight": 0.5, "ats_weight": 0.5, "max_num_of_spks": 4, "streaming_mode": True,
        "async_streaming": False,
        "model_defaults": {"fc_d_model": d["d_model"], "tf_d_model": d["tf"]},
        "train_ds": None, "validation_ds": None, "test_ds": ds,
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor", "normalize": "NA",
            "window_size": 0.025, "sample_rate": 16000, "window_stride": 0.01, "window": "hann", "features": N_MELS,
            "n_fft": 512, "frame_splicing": 1, "dither": 0.0, "pad_to": 0},
        "sortformer_modules": {
            "_target_": "nemo.collections.asr.modules.sortformer_modules.SortformerModules", "num_spks": 4,
            "dropout_rate": 0.0, "fc_d_model": d["d_model"], "tf_d_model": d["tf"], "spkcache_len": 188,
            "fifo_len": 188, "chunk_len": 14, "spkcache_update_period": 144, "chunk_left_context": 1,
            "chunk_right_context": 0, "spkcache_sil_frames_per_spk": 3, "scores_add_rnd": 0,
            "pred_score_threshold": 0.25, "max_index": 99999, "scores_boost_latest": 0.05, "sil_threshold": 0.2,
            "strong_boost_rate": 0.75, "weak_boost_rate": 1.5, "min_pos_scores_rate": 0.5},
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConformerEncoder", "feat_in": N_MELS, "feat_out": -1,
            "n_layers": d["n_layers"], "d_model": d["d_model"], "subsampling": "dw_striding",
            "subsampling_factor": 8, "subsampling_conv_channels": d["channels"], "causal_downsampling": False,
            "ff_expansion_factor": 4, "self_attention_model": "rel_pos", "n_heads": d["n_heads"],
            "att_context_size": [-1, -1], "att_context_style": "regular", "xscaling": True, "untie_biases": True,
            "pos_emb_max_len": d["pos"], "conv_kernel_size": 9, "conv_norm_type": "batch_norm",
            "conv_context_size": None, "dropout": 0.0, "dropout_pre_encoder": 0.0, "dropout_emb": 0.0,
            "dropout_att": 0.0, "stochastic_depth_drop_prob": 0.0},
        "transformer_encoder": {
            "_target_": "nemo.collections.asr.modules.transformer.transformer_encoders.TransformerEncoder",
            "num_layers": d["tf_layers"], "hidden_size": d["tf"], "inner_size": d["tf_inner"],
            "num_attention_heads": d["tf_heads"], "attn_score_dropout": 0.0, "attn_layer_dropout": 0.0,
            "ffn_dropout": 0.0, "hidden_act": "relu", "pre_ln": False, "pre_ln_final_layer_norm": True},
        "loss": {"_target_": "nemo.collections.asr.losses.bce_loss.BCELoss", "weight": None, "reduction": "mean"},
        "lr": 1e-4,
    })


def build(size_name: str, seed: int, tok_dir: Path, emit: float, active: int | None, calibrate: Path | None):
    """Builds NeMo's own modules with seeded weights. Returns (asr, diar).

    The outputs of random networks hardly depend on their inputs. With an audio file for calibration, the last layers
    are shifted and scaled so that the outputs vary over that file: each token's logit has mean 0 and standard deviation
    1, the blank wins except in a fraction `emit` of the decisions, and each speaker's logit has mean -0.5 and standard
    deviation 2.
    """
    from nemo.collections.asr.models import SortformerEncLabelModel
    from nemo.collections.asr.models.multitalker_asr_models import EncDecMultiTalkerRNNTBPEModel

    size = SIZES[size_name]
    torch.manual_seed(seed)
    asr = EncDecMultiTalkerRNNTBPEModel(cfg=asr_config(size, tok_dir)).eval()
    torch.manual_seed(seed + 1)
    diar = SortformerEncLabelModel(cfg=diar_config(size)).eval()
    with torch.no_grad():
        for kernels in (asr.spk_kernels, asr.bg_spk_kernels):  # targets must affect the transcript
            for p in kernels.parameters():
                if p.ndim == 2:
                    p.mul_(4.0)
        last = [m for m in asr.joint.joint_net if isinstance(m, torch.nn.Linear)][-1]
        head = diar.sortformer_modules.single_hidden_to_spks
        if calibrate:
            import soundfile as sf
            audio, _ = sf.read(calibrate, dtype="float32")
            for m in (asr, diar):
                m.preprocessor.featurizer.dither = 0.0
            mel, n = asr.preprocessor(input_signal=torch.tensor(audio)[None], length=torch.tensor([len(audio)]))
            encs = []
            for spk, bg in ((1.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.0, 1.0)):
                asr.set_speaker_targets(torch.full((1, mel.shape[2]), spk), torch.full((1, mel.shape[2]), bg))
                encs.append(asr.encoder(audio_signal=mel, length=n)[0].transpose(1, 2))
            g, _ = asr.decoder.predict(y=torch.randint(0, size["vocab"], (1, 64)), state=None, add_sos=True)
            enc, pred = asr.joint.enc(torch.cat(encs, dim=1)), asr.joint.pred(g)
            asr.joint.pred.weight.mul_(0.5 * enc.std() / pred.std())  # the last token has half the influence of the audio
            asr.joint.pred.bias.zero_()
            pred = asr.joint.pred(g)
            logits = asr.joint.joint_net(enc.unsqueeze(2) + pred.unsqueeze(1)).reshape(-1, size["vocab"] + 1)
            mean, dev = logits.mean(0), logits.std(0)
            last.weight.div_(dev[:, None])
            last.bias.copy_((last.bias - mean) / dev)
            logits = (logits - mean) / dev
            last.bias[-1] += torch.quantile(logits[::7, :-1].max(1).values - logits[::7, -1], 1.0 - emit)
            frames, lengths = diar.frontend_encoder(processed_signal=mel, processed_signal_length=n)
            p = diar.forward_infer(frames, lengths).clamp(1e-6, 1 - 1e-6)
            logit = torch.log(p / (1 - p)).reshape(-1, 4)
            mean, dev = logit.mean(0), logit.std(0)
            head.weight.mul_(2.0 / dev[:, None])
            head.bias.copy_((head.bias - mean) * 2.0 / dev - 0.5)
        if active is not None:  # a fixed number of speakers who are always active, for benchmarks
            head.weight.mul_(0.0)
            head.bias.copy_(torch.tensor([6.0 if i < active else -6.0 for i in range(4)]))
    return asr, diar


def export(model, args, path: Path, inputs, outputs, dynamic):
    with torch.no_grad():
        torch.onnx.export(model, args, str(path), input_names=inputs, output_names=outputs, dynamic_axes=dynamic,
                          opset_version=17, do_constant_folding=True, dynamo=False)


def consolidate(path: Path, external: bool, meta: dict):
    model = onnx.load(str(path))
    for k, v in meta.items():
        model.metadata_props.add(key=k, value=str(v))
    for stale in path.parent.iterdir():
        if stale != path and stale.suffix not in {".onnx", ".model", ".json", ".vocab", ".nemo", ".npz", ".txt"} \
                and not stale.name.endswith(".onnx.data") and stale.is_file():
            stale.unlink()
    data = path.with_name(path.name + ".data")
    data.unlink(missing_ok=True)
    if external:
        onnx.save(model, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=data.name)
        shutil.copymode(path, data)  # onnx makes it readable only for its owner
    else:
        onnx.save(model, str(path))


def export_asr(asr, size_name: str, out: Path, dynamic_batch: bool, quantize: bool):
    size = SIZES[size_name]
    e, p = size["enc"], size["pred"]
    enc = asr.encoder
    enc.set_default_att_context_size([e["left"], 13])
    cfg = enc.streaming_cfg
    t = cfg.chunk_size[1] + cfg.pre_encode_cache_size[1]
    b = 2 if dynamic_batch else 1
    names = ["processed_signal", "processed_signal_length", "cache_last_channel", "cache_last_time",
             "cache_last_channel_len", "spk_targets", "bg_spk_targets"]
    outs = ["encoded", "encoded_len", "cache_last_channel_next", "cache_last_time_next",
            "cache_last_channel_len_next"]
    dyn = {"processed_signal": {2: "time"}, "spk_targets": {1: "spk_time"}, "bg_spk_targets": {1: "spk_time"},
           "encoded": {2: "encoded_time"}}
    if dynamic_batch:
        for n in names + outs:
            dyn.setdefault(n, {})[0] = "batch"
    # The exporter freezes small constants from the example; cache_last_channel_len stays an input, so the fill level of
    # the example's cache does not matter.
    args = (torch.randn(b, N_MELS, t), torch.full((b,), t, dtype=torch.long),
            torch.zeros(b, e["n_layers"], e["left"], e["d_model"]),
            torch.zeros(b, e["n_layers"], e["d_model"], e["conv_kernel_size"] - 1),
            torch.zeros(b, dtype=torch.long), torch.ones(b, t), torch.zeros(b, t))
    meta = {"vocab_size": size["vocab"], "normalize_type": "", "pred_rnn_layers": p["layers"],
            "pred_hidden": p["hidden"], "subsampling_factor": 8, "model_type": "MultitalkerEncDecRNNTBPEModel",
            "feat_dim": N_MELS, "spk_kernel_layers": "[0]"}
    export(EncoderWithTargets(asr).eval(), args, out / "encoder.onnx", names, outs, dyn)
    consolidate(out / "encoder.onnx", size_name == "full", meta)

    dargs = (torch.randn(1, 1, e["d_model"]), torch.zeros(1, 1, dtype=torch.long),
             torch.zeros(p["layers"], 1, p["hidden"]), torch.zeros(p["layers"], 1, p["hidden"]))
    export(DecoderJoint(asr).eval(), dargs, out / "decoder_joint.onnx",
           ["encoder_outputs", "targets", "input_states_1", "input_states_2"],
           ["outputs", "prednet_lengths", "states_1", "states_2"], {"encoder_outputs": {1: "enc_time"}})
    consolidate(out / "decoder_joint.onnx", False, meta)

    json.dump({
        "model_type": "multitalker-parakeet-streaming",
        "encoder": {"d_model": e["d_model"], "num_layers": e["n_layers"], "subsampling_factor": 8,
                    "left_context": e["left"], "conv_context": e["conv_kernel_size"] - 1,
                    "chunk_size": cfg.chunk_size[1], "pre_encode_cache_size": cfg.pre_encode_cache_size[1],
                    "drop_extra_pre_encoded": cfg.drop_extra_pre_encoded,
                    "att_context_size": OmegaConf.to_container(OmegaConf.create({"a": asr.cfg.encoder.att_context_size}))["a"]},
        "decoder": {"vocab_size": size["vocab"], "pred_hidden": p["hidden"], "pred_rnn_layers": p["layers"],
                    "blank_id": size["vocab"]},
        "speaker_kernels": {"spk_kernel_layers": [0], "spk_kernel_type": "ff", "add_bg_spk_kernel": True},
        "preprocessor": {"sample_rate": 16000, "n_mels": N_MELS, "n_fft": 512, "normalize": "NA"},
    }, (out / "multitalker_config.json").open("w"), indent=2)

    if quantize:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        quantize_dynamic(str(out / "encoder.onnx"), str(out / "encoder.int8.onnx"), weight_type=QuantType.QUInt8)
        quantize_dynamic(str(out / "decoder_joint.onnx"), str(out / "decoder_joint.int8.onnx"),
                         weight_type=QuantType.QInt8)


def export_diar(diar, size_name: str, out: Path, quantize: bool):
    d = SIZES[size_name]["diar"]
    diar.forward = types.MethodType(diarizer_step, diar)
    args = (torch.randn(1, 124 * 8, N_MELS), torch.tensor([124 * 8]), torch.zeros(1, 188, d["d_model"]),
            torch.tensor([0]), torch.zeros(1, 124, d["d_model"]), torch.tensor([0]))
    path = out / "sortformer.onnx"
    export(diar, args, path, ["chunk", "chunk_lengths", "spkcache", "spkcache_lengths", "fifo", "fifo_lengths"],
           ["spkcache_fifo_chunk_preds", "chunk_pre_encode_embs", "chunk_pre_encode_lengths"],
           {"chunk": {0: "batch", 1: "time_chunk"}, "spkcache": {0: "batch", 1: "time_cache"},
            "fifo": {0: "batch", 1: "time_fifo"}, "spkcache_fifo_chunk_preds": {0: "batch", 1: "time_out"},
            "chunk_pre_encode_embs": {0: "batch", 1: "time_pre_encode"}})
    consolidate(path, False, {"chunk_len": 124, "fifo_len": 124, "spkcache_len": 188, "right_context": 1})
    if quantize:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        quantize_dynamic(str(path), str(out / "sortformer.int8.onnx"), weight_type=QuantType.QUInt8)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--size", choices=SIZES, default="tiny")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--out", type=Path, required=True)
    a.add_argument("--calibrate", type=Path, help="16 kHz mono WAV over which the outputs should vary")
    a.add_argument("--emit", type=float, default=0.08, help="fraction of the joint's decisions that are a token, not the blank (default: 0.08)")
    a.add_argument("--active", type=int, help="number of speakers that are always active; the others never are (for benchmarks)")
    a.add_argument("--dynamic-batch", action="store_true", help="export the encoder with a dynamic batch axis")
    a.add_argument("--quantize", action="store_true", help="also write int8 models, quantized like the published ones")
    a.add_argument("--nemo", action="store_true", help="also write asr.nemo and diar.nemo")
    o = a.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    tok_dir = train_tokenizer(o.out, SIZES[o.size]["vocab"])
    asr, diar = build(o.size, o.seed, tok_dir, o.emit, o.active, o.calibrate)
    if o.nemo:
        asr.save_to(str(o.out / "asr.nemo"))
        diar.save_to(str(o.out / "diar.nemo"))
    export_asr(asr, o.size, o.out, o.dynamic_batch, o.quantize)
    export_diar(diar, o.size, o.out, o.quantize)
    for f in sorted(o.out.iterdir()):
        print(f"{f.stat().st_size:>12} {f.name}")


if __name__ == "__main__":
    sys.exit(main())
