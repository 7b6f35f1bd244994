#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Converts a multitalker Parakeet and a streaming Sortformer from .nemo files to the ONNX files that the plugin runs.

Writes encoder.onnx, decoder_joint.onnx, tokenizer.model, and multitalker_config.json from --asr, and sortformer.onnx from
--diar. With --int8, also writes the same graphs with 8-bit weights. All dimensions are read from the .nemo files.

Pointwise convolutions are exported as matrix products, which are mathematically equivalent and which ONNX Runtime runs
and quantizes better.
"""
import argparse
import json
import os
import shutil
import tarfile
import tempfile
import types
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ.setdefault("NEMO_TESTING", "1")

import onnx
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from onnxruntime.quantization import QuantType, quantize_dynamic

INLINE_LIMIT = 1_500_000_000  # weights larger than this (in bytes) go into a separate file


class PointwiseAsLinear(torch.nn.Module):
    def __init__(self, conv: torch.nn.Conv1d):
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(conv.weight[..., 0].detach()), conv.bias

    def forward(self, x):
        return F.linear(x.transpose(1, 2), self.weight, self.bias).transpose(1, 2)


def simplify(encoder):
    for layer in encoder.layers:
        layer.conv.pointwise_conv1 = PointwiseAsLinear(layer.conv.pointwise_conv1)
        layer.conv.pointwise_conv2 = PointwiseAsLinear(layer.conv.pointwise_conv2)


class EncoderWithTargets(torch.nn.Module):
    """A cache-aware step of the encoder with the speaker targets as inputs of the graph."""

    def __init__(self, asr):
        super().__init__()
        self.encoder, self.spk, self.bg = asr.encoder, asr.spk_kernels, asr.bg_spk_kernels
        self.owner = [asr]  # in a list, so that it is not registered as a submodule

    def forward(self, processed_signal, processed_signal_length, cache_last_channel, cache_last_time,
                cache_last_channel_len, spk_targets, bg_spk_targets):
        self.owner[0].set_speaker_targets(spk_targets, bg_spk_targets)
        return self.encoder.forward_for_export(
            audio_signal=processed_signal, length=processed_signal_length, cache_last_channel=cache_last_channel,
            cache_last_time=cache_last_time, cache_last_channel_len=cache_last_channel_len)


class DecoderJoint(torch.nn.Module):
    def __init__(self, asr):
        super().__init__()
        self.decoder, self.joint = asr.decoder, asr.joint

    def forward(self, encoder_outputs, targets, input_states_1, input_states_2):
        g, states = self.decoder.predict(y=targets, state=[input_states_1, input_states_2], add_sos=False)
        f = self.joint.enc(encoder_outputs).unsqueeze(2) + self.joint.pred(g).unsqueeze(1)
        return self.joint.joint_net(f), g.shape[1], states[0], states[1]


def diarizer_step(self, chunk, chunk_lengths, spkcache, spkcache_lengths, fifo, fifo_lengths):
    embs, emb_lengths = self.encoder.pre_encode(x=chunk, lengths=chunk_lengths)
    emb_lengths = emb_lengths.to(torch.int64)
    frames, lengths = self.frontend_encoder(
        processed_signal=torch.cat([spkcache, fifo, embs], dim=1),
        processed_signal_length=spkcache_lengths + fifo_lengths + emb_lengths, bypass_pre_encode=True)
    return self.forward_infer(frames, lengths), embs, emb_lengths


def write(model, args, path: Path, inputs, outputs, dynamic, metadata, int8: bool):
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "graph.onnx"
        with torch.no_grad():
            torch.onnx.export(model, args, str(raw), input_names=inputs, output_names=outputs, dynamic_axes=dynamic,
                              opset_version=17, do_constant_folding=True, dynamo=False)
        graph = onnx.load(str(raw))
    for key, value in metadata.items():
        graph.metadata_props.add(key=key, value=str(value))
    data = path.with_name(path.name + ".data")
    data.unlink(missing_ok=True)
    if sum(len(t.raw_data) for t in graph.graph.initializer) > INLINE_LIMIT:
        onnx.save(graph, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=data.name)
        shutil.copymode(path, data)  # onnx makes it readable only for its owner
    else:
        onnx.save(graph, str(path))
    if int8:
        quantize_dynamic(str(path), str(path.with_suffix(".int8.onnx")), op_types_to_quantize=["MatMul", "LSTM"],
                         weight_type=QuantType.QInt8, per_channel=True)


def export_asr(asr, out: Path, int8: bool):
    encoder, cfg = asr.encoder, OmegaConf.to_container(asr.cfg, resolve=True)
    contexts = cfg["encoder"]["att_context_size"]
    left, right = contexts[0] if isinstance(contexts[0], list) else contexts
    encoder.set_default_att_context_size([left, right])
    simplify(encoder)
    streaming = encoder.streaming_cfg
    chunk, before = streaming.chunk_size[1], streaming.pre_encode_cache_size[1]
    mels, d_model, layers = cfg["preprocessor"]["features"], encoder.d_model, len(encoder.layers)
    conv_context = cfg["encoder"]["conv_kernel_size"] - 1
    pred_layers, pred_hidden = cfg["decoder"]["prednet"]["pred_rnn_layers"], cfg["decoder"]["prednet"]["pred_hidden"]
    vocabulary, subsampling = asr.decoder.blank_idx, cfg["encoder"]["subsampling_factor"]
    metadata = {"vocab_size": vocabulary, "normalize_type": "", "pred_rnn_layers": pred_layers,
                "pred_hidden": pred_hidden, "subsampling_factor": subsampling,
                "model_type": "MultitalkerEncDecRNNTBPEModel", "feat_dim": mels,
                "spk_kernel_layers": json.dumps(cfg["spk_kernel_layers"])}
    time = chunk + before
    write(EncoderWithTargets(asr).eval(),
          (torch.randn(1, mels, time), torch.tensor([time]), torch.zeros(1, layers, left, d_model),
           torch.zeros(1, layers, d_model, conv_context), torch.zeros(1, dtype=torch.long),
           torch.ones(1, time), torch.zeros(1, time)),
          out / "encoder.onnx",
          ["processed_signal", "processed_signal_length", "cache_last_channel", "cache_last_time",
           "cache_last_channel_len", "spk_targets", "bg_spk_targets"],
          ["encoded", "encoded_len", "cache_last_channel_next", "cache_last_time_next", "cache_last_channel_len_next"],
          {"processed_signal": {2: "time"}, "spk_targets": {1: "spk_time"}, "bg_spk_targets": {1: "spk_time"},
           "encoded": {2: "encoded_time"}}, metadata, int8)
    write(DecoderJoint(asr).eval(),
          (torch.randn(1, 1, d_model), torch.zeros(1, 1, dtype=torch.long),
           torch.zeros(pred_layers, 1, pred_hidden), torch.zeros(pred_layers, 1, pred_hidden)),
          out / "decoder_joint.onnx", ["encoder_outputs", "targets", "input_states_1", "input_states_2"],
          ["outputs", "prednet_lengths", "states_1", "states_2"], {"encoder_outputs": {1: "enc_time"}}, metadata, int8)
    (out / "tokenizer.model").write_bytes(asr.tokenizer.tokenizer.serialized_model_proto())
    preprocessor = cfg["preprocessor"]
    (out / "multitalker_config.json").write_text(json.dumps({
        "model_type": "multitalker-parakeet-streaming",
        "encoder": {"d_model": d_model, "num_layers": layers, "subsampling_factor": subsampling,
                    "left_context": left, "conv_context": conv_context, "chunk_size": chunk,
                    "pre_encode_cache_size": before, "drop_extra_pre_encoded": streaming.drop_extra_pre_encoded,
                    "att_context_size": contexts},
        "decoder": {"vocab_size": vocabulary, "pred_hidden": pred_hidden, "pred_rnn_layers": pred_layers,
                    "blank_id": vocabulary},
        "speaker_kernels": {"spk_kernel_layers": cfg["spk_kernel_layers"], "spk_kernel_type": cfg["spk_kernel_type"],
                            "add_bg_spk_kernel": cfg["add_bg_spk_kernel"]},
        "preprocessor": {"sample_rate": preprocessor["sample_rate"], "n_mels": mels, "n_fft": preprocessor["n_fft"],
                         "normalize": preprocessor["normalize"]},
    }, indent=2) + "\n")


def export_diar(diar, out: Path, int8: bool):
    modules, mels = diar.sortformer_modules, diar.cfg.preprocessor.features
    chunk = fifo = 124  # sizes of the example; both axes are dynamic
    simplify(diar.encoder)
    diar.forward = types.MethodType(diarizer_step, diar)
    d_model, cache = modules.fc_d_model, modules.spkcache_len
    write(diar, (torch.randn(1, chunk * 8, mels), torch.tensor([chunk * 8]), torch.zeros(1, cache, d_model),
                 torch.tensor([0]), torch.zeros(1, fifo, d_model), torch.tensor([0])),
          out / "sortformer.onnx",
          ["chunk", "chunk_lengths", "spkcache", "spkcache_lengths", "fifo", "fifo_lengths"],
          ["spkcache_fifo_chunk_preds", "chunk_pre_encode_embs", "chunk_pre_encode_lengths"],
          {"chunk": {0: "batch", 1: "time_chunk"}, "spkcache": {0: "batch", 1: "time_cache"},
           "fifo": {0: "batch", 1: "time_fifo"}, "spkcache_fifo_chunk_preds": {0: "batch", 1: "time_out"},
           "chunk_pre_encode_embs": {0: "batch", 1: "time_pre_encode"}},
          {"chunk_len": chunk, "fifo_len": fifo, "spkcache_len": cache, "right_context": 1}, int8)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--asr", type=Path, help=".nemo file of a multitalker Parakeet")
    a.add_argument("--diar", type=Path, help=".nemo file of a streaming Sortformer")
    a.add_argument("--out", type=Path, required=True)
    a.add_argument("--int8", action="store_true", help="also write *.int8.onnx")
    o = a.parse_args()
    if not (o.asr or o.diar):
        a.error("nothing to do: expected --asr, --diar, or both")
    for file in filter(None, (o.asr, o.diar)):
        if not (file.is_file() and tarfile.is_tarfile(file)):
            a.error(f"{file}: expected a .nemo file, which is a tar archive")
    o.out.mkdir(parents=True, exist_ok=True)
    from nemo.collections.asr.models import ASRModel, SortformerEncLabelModel
    if o.asr:
        asr = ASRModel.restore_from(str(o.asr), map_location="cpu").eval()
        if not hasattr(asr, "spk_kernels"):
            a.error(f"{o.asr}: expected a multitalker recognizer, found {type(asr).__name__}")
        export_asr(asr, o.out, o.int8)
    if o.diar:
        diar = SortformerEncLabelModel.restore_from(str(o.diar), map_location="cpu").eval()
        export_diar(diar, o.out, o.int8)
    for file in sorted(o.out.iterdir()):
        print(f"{file.stat().st_size:>12} {file.name}")


if __name__ == "__main__":
    main()
