# SPDX-License-Identifier: MPL-2.0
"""How wrong a transcript and a diarization are: counts for each recording, whose sums give the rates of all.

cpWER and tcpWER are meeteval's, on text in the form of Whisper's English normalizer. DER and JER are those of
pyannote.metrics, with overlapped speech scored. A collar of 0.25 s leaves out 0.25 s on both sides of each
boundary of the reference, as in NIST's md-eval and in NeMo; pyannote.metrics calls this a collar of 0.5.
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
# It takes the lengths of segments for those of words, and warns of them.
logging.getLogger("preprocess").setLevel(logging.ERROR)
normalize = EnglishTextNormalizer()


def normalized(rows: list[dict], session: str) -> meeteval.io.SegLST:
    """SegLST rows with the words in Whisper's form, under one name; what has no words in it is left out."""
    rows = ({**row, "session_id": session, "words": normalize(row["words"])} for row in rows)
    return meeteval.io.SegLST([row for row in rows if row["words"]])


def score_words(reference: list[dict], hypothesis: list[dict], session: str, tcp_collar: float) -> dict:
    """{metric: counts} for cpWER and tcpWER."""
    reference, hypothesis = normalized(reference, session), normalized(hypothesis, session)
    results = {
        "cpwer": cp_word_error_rate(reference, hypothesis),
        "tcpwer": time_constrained_minimum_permutation_word_error_rate(reference, hypothesis, collar=tcp_collar),
    }
    return {name: with_rate({"errors": result.errors, "words": result.length, "insertions": result.insertions,
                             "deletions": result.deletions, "substitutions": result.substitutions})
            for name, result in results.items()}


def score_turns(reference: Annotation, hypothesis: Annotation, regions: Timeline | None) -> dict:
    """{metric: counts} for DER and JER at each collar; without regions all is scored."""
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
    """The counts with their rate, which is `None` where the reference holds nothing."""
    if "words" in counts:
        wrong, all_of_it = counts["errors"], counts["words"]
    elif "speakers" in counts:
        wrong, all_of_it = counts["speaker_errors"], counts["speakers"]
    else:
        wrong, all_of_it = counts["missed_s"] + counts["false_alarm_s"] + counts["confused_s"], counts["spoken_s"]
    return {**counts, "rate": wrong / all_of_it if all_of_it else None}


def together(scores: list[dict]) -> dict:
    """The scores of several recordings as one: sums of errors over sums of what the references hold."""
    sums: dict[str, Counter] = {}
    for score in scores:
        for metric, counts in score.items():
            total = sums.setdefault(metric, Counter())
            for name, count in counts.items():
                if name != "rate":
                    total[name] += count
    return {metric: with_rate(dict(counts)) for metric, counts in sums.items()}
