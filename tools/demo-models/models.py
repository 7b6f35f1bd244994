# SPDX-License-Identifier: MPL-2.0
"""Builds the demo's two networks: NeMo's own classes in the published architecture, at a small size."""
import os
import types
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ.setdefault("NEMO_TESTING", "1")

import sentencepiece as spm
import torch
import torch.nn.functional as F
from nemo.collections.asr.models import SortformerEncLabelModel
from nemo.collections.asr.models.multitalker_asr_models import EncDecMultiTalkerRNNTBPEModel
from omegaconf import OmegaConf
from sentencepiece import sentencepiece_model_pb2

N_MELS = 128
VOCAB = 192
LEFT = 56  # left context of the recognizer in encoded frames; a multiple of all chunk lengths 14, 7, 2, and 1
RIGHTS = [13, 6, 1, 0]
PREPROCESSOR = {
    "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
    "sample_rate": 16000, "normalize": "NA", "window_size": 0.025, "window_stride": 0.01, "window": "hann",
    "features": N_MELS, "n_fft": 512, "frame_splicing": 1, "dither": 0.0, "pad_to": 0}
NO_DROPOUT = {"dropout": 0.0, "dropout_pre_encoder": 0.0, "dropout_emb": 0.0, "dropout_att": 0.0,
              "stochastic_depth_drop_prob": 0.0}


def asr_config(tokenizer: Path, d_model=128, layers=6, channels=32, hidden=128, joint=128):
    return OmegaConf.create({
        "sample_rate": 16000,
        "spk_kernel_type": "ff", "spk_kernel_layers": [0], "add_bg_spk_kernel": True,
        "model_defaults": {"enc_hidden": d_model, "pred_hidden": hidden, "joint_hidden": joint},
        "tokenizer": {"dir": str(tokenizer), "type": "bpe"},
        "preprocessor": PREPROCESSOR,
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConformerEncoder",
            "feat_in": N_MELS, "feat_out": -1, "n_layers": layers, "d_model": d_model, "use_bias": False,
            "subsampling": "dw_striding", "subsampling_factor": 8, "subsampling_conv_channels": channels,
            "causal_downsampling": True, "ff_expansion_factor": 4, "self_attention_model": "rel_pos", "n_heads": 4,
            "att_context_size": [[LEFT, right] for right in RIGHTS],
            "att_context_style": "chunked_limited", "att_context_probs": None, "xscaling": False,
            "pos_emb_max_len": 512, "conv_kernel_size": 9, "conv_norm_type": "layer_norm",
            "conv_context_size": "causal", **NO_DROPOUT},
        "decoder": {
            "_target_": "nemo.collections.asr.modules.RNNTDecoder", "normalization_mode": None,
            "random_state_sampling": False, "blank_as_pad": True,
            "prednet": {"pred_hidden": hidden, "pred_rnn_layers": 2, "t_max": None, "dropout": 0.0}},
        "joint": {
            "_target_": "nemo.collections.asr.modules.RNNTJoint", "log_softmax": None, "preserve_memory": False,
            "fuse_loss_wer": False,
            "jointnet": {"joint_hidden": joint, "activation": "relu", "dropout": 0.0}},
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "default"},
    })


def diar_config(d_model=96, layers=4, channels=24, tf=96, tf_layers=6):
    data = {"manifest_filepath": None, "sample_rate": 16000, "num_spks": 4, "session_len_sec": 90,
            "soft_label_thres": 0.5, "soft_targets": False, "labels": None, "batch_size": 1, "shuffle": False,
            "num_workers": 0, "use_lhotse": False, "validation_mode": True, "window_stride": 0.01,
            "subsampling_factor": 8}
    return OmegaConf.create({
        "sample_rate": 16000, "pil_weight": 0.5, "ats_weight": 0.5, "max_num_of_spks": 4, "streaming_mode": True,
        "async_streaming": False,
        "model_defaults": {"fc_d_model": d_model, "tf_d_model": tf},
        "train_ds": None, "validation_ds": None, "test_ds": data,
        "preprocessor": PREPROCESSOR,
        "sortformer_modules": {
            "_target_": "nemo.collections.asr.modules.sortformer_modules.SortformerModules", "num_spks": 4,
            "dropout_rate": 0.0, "fc_d_model": d_model, "tf_d_model": tf, "spkcache_len": 188,
            "fifo_len": 188, "chunk_len": 14, "spkcache_update_period": 144, "chunk_left_context": 1,
            "chunk_right_context": 0, "spkcache_sil_frames_per_spk": 3, "scores_add_rnd": 0,
            "pred_score_threshold": 0.25, "max_index": 99999, "scores_boost_latest": 0.05, "sil_threshold": 0.2,
            "strong_boost_rate": 0.75, "weak_boost_rate": 1.5, "min_pos_scores_rate": 0.5},
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConformerEncoder", "feat_in": N_MELS, "feat_out": -1,
            "n_layers": layers, "d_model": d_model, "subsampling": "dw_striding",
            "subsampling_factor": 8, "subsampling_conv_channels": channels, "causal_downsampling": False,
            "ff_expansion_factor": 4, "self_attention_model": "rel_pos", "n_heads": 4,
            "att_context_size": [-1, -1], "att_context_style": "regular", "xscaling": True, "untie_biases": True,
            "pos_emb_max_len": 1024, "conv_kernel_size": 9, "conv_norm_type": "batch_norm",
            "conv_context_size": None, **NO_DROPOUT},
        "transformer_encoder": {
            "_target_": "nemo.collections.asr.modules.transformer.transformer_encoders.TransformerEncoder",
            "num_layers": tf_layers, "hidden_size": tf, "inner_size": 4 * tf, "num_attention_heads": 4,
            "attn_score_dropout": 0.0, "attn_layer_dropout": 0.0, "ffn_dropout": 0.0, "hidden_act": "relu",
            "pre_ln": False, "pre_ln_final_layer_norm": True},
        "loss": {"_target_": "nemo.collections.asr.losses.bce_loss.BCELoss", "weight": None, "reduction": "mean"},
        "lr": 1e-4,
    })


def train_tokenizer(folder: Path, texts: list[str]):
    """Trains a SentencePiece BPE model on the texts, in the file layout that NeMo requires."""
    folder.mkdir(parents=True, exist_ok=True)
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(folder / "tokenizer"), vocab_size=VOCAB, model_type="bpe",
        character_coverage=1.0, bos_id=-1, eos_id=-1, unk_id=0, minloglevel=2)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((folder / "tokenizer.model").read_bytes())
    proto.trainer_spec.ClearField("model_prefix")  # no local paths in the model
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    pieces = [line.split("\t")[0] for line in (folder / "tokenizer.vocab").read_text().splitlines()]
    (folder / "vocab.txt").write_text("\n".join(pieces[1:]) + "\n")


def build_asr(tokenizer: Path):
    torch.manual_seed(1)
    asr = EncDecMultiTalkerRNNTBPEModel(cfg=asr_config(tokenizer))
    for kernels in (asr.spk_kernels, asr.bg_spk_kernels):
        for kernel in kernels.values():
            kernel[2].p = 0.0
    return asr


def build_diar():
    torch.manual_seed(2)
    return SortformerEncLabelModel(cfg=diar_config())


def scaled(conv, x):
    """Computes the first convolution on features scaled to about -2 to 3, after the normal padding."""
    sides = (conv._left_padding, conv._right_padding) * 2 if hasattr(conv, "_left_padding") else (1, 1, 1, 1)
    return F.conv2d((F.pad(x, sides) + 8.0) / 4.0, conv.weight, conv.bias, conv.stride)


def scale_features(model):
    """Makes the model scale its features, for training."""
    conv = model.encoder.pre_encode.conv[0]
    conv.forward = types.MethodType(scaled, conv)
    return model


def fold_scale(model):
    """Folds the scale into the weights, so that the network accepts unscaled features."""
    conv = model.encoder.pre_encode.conv[0]
    del conv.forward
    with torch.no_grad():
        conv.bias += 2.0 * conv.weight.sum(dim=(1, 2, 3))
        conv.weight /= 4.0
    return model


def pre_encode(model, mel):
    """Subsamples [B, 128, T] to [B, T', D] without masks, which have no effect on full batches."""
    x = mel.transpose(1, 2).unsqueeze(1)
    sub = model.encoder.pre_encode
    for layer in sub.conv:
        x = layer(x)
    return sub.out(x.transpose(1, 2).flatten(2))


def diarize(diar, x):
    """Computes probabilities [B, T', 4] and the frames [B, T', D] before the transformer from subsampled x [B, T', D]."""
    frames, lengths = diar.frontend_encoder(
        processed_signal=x, processed_signal_length=torch.full((len(x),), x.shape[1]), bypass_pre_encode=True)
    return diar.forward_infer(frames, lengths), frames
