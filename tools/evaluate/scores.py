# SPDX-License-Identifier: MPL-2.0
"""Counts errors of transcripts and diarizations. The counts of recordings can be summed into overall rates.

cpWER and tcpWER are computed by meeteval on text normalized with Whisper's English normalizer. DER and JER are computed
by pyannote.metrics, with overlapped speech scored. A collar of 0.25 s excludes 0.25 s on both sides of each boundary of
the reference, as in NIST's md-eval and in NeMo; pyannote.metrics calls this a collar of 0.5.
"""
import logging
from collections import Counter

import meeteval
from meeteval.wer.wer.cp import cp_word_error_rate
from meeteval.wer.wer.time_constrained import time_constrained_minimum_permutation_word_error_rate
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate
from whisper_normalizer.english import EnglishTextNormalizer

COLLARS = (0.0, 0.25)
# meeteval's warnings about long words are wrong here, because its input is segments.
logging.getLogger("preprocess").setLevel(logging.ERROR)
normalize = EnglishTextNormalizer()


def normalized(rows: list[dict], session: str) -> meeteval.io.SegLST:
    """Returns SegLST rows with normalized words and the given session. Rows without words are omitted."""
    rows = ({**row, "session_id": session, "words": normalize(row["words"])} for row in rows)
    return meeteval.io.SegLST([row for row in rows if row["words"]])


def score_words(reference: list[dict], hypothesis: list[dict], session: str, tcp_collar: float) -> dict:
    """Returns {metric: counts} for cpWER and tcpWER."""
    reference, hypothesis = normalized(reference, session), normalized(hypothesis, session)
    results = {
        "cpwer": cp_word_error_rate(reference, hypothesis),
        "tcpwer": time_constrained_minimum_permutation_word_error_rate(reference, hypothesis, collar=tcp_collar),
    }
    return {name: with_rate({"errors": result.errors, "words": result.length, "insertions": result.insertions,
                             "deletions": result.deletions, "substitutions": result.substitutions})
            for name, result in results.items()}


def score_turns(reference: Annotation, hypothesis: Annotation, regions: Timeline | None) -> dict:
    """Returns {metric: counts} for DER and JER at each collar. Without regions, the entire recording is scored."""
    if regions is None:
        end = max((segment.end for turns in (reference, hypothesis) for segment in turns.itersegments()), default=0.0)
        regions = Timeline([Segment(0.0, end)])
    scores = {}
    for collar in COLLARS:
        both_sides = {"collar": 2 * collar, "skip_overlap": False}
        der = DiarizationErrorRate(**both_sides).compute_components(reference, hypothesis, uem=regions)
        jer = JaccardErrorRate(**both_sides).compute_components(reference, hypothesis, uem=regions)
        scores[f"der_{collar:g}"] = with_rate({
            "missed_s": der["missed detection"], "false_alarm_s": der["false alarm"], "confused_s": der["confusion"],
            "spoken_s": der["total"]})
        scores[f"jer_{collar:g}"] = with_rate({"speaker_errors": jer["speaker error"], "speakers": jer["speaker count"]})
    return scores


def with_rate(counts: dict) -> dict:
    """Adds the rate to the counts. The rate is `None` if the reference is empty."""
    if "words" in counts:
        errors, total = counts["errors"], counts["words"]
    elif "speakers" in counts:
        errors, total = counts["speaker_errors"], counts["speakers"]
    else:
        errors, total = counts["missed_s"] + counts["false_alarm_s"] + counts["confused_s"], counts["spoken_s"]
    return {**counts, "rate": errors / total if total else None}


def combine(scores: list[dict]) -> dict:
    """Combines the scores of several recordings: sums of errors over sums of reference counts."""
    sums: dict[str, Counter] = {}
    for score in scores:
        for metric, counts in score.items():
            total = sums.setdefault(metric, Counter())
            for name, count in counts.items():
                if name != "rate":
                    total[name] += count
    return {metric: with_rate(dict(counts)) for metric, counts in sums.items()}
