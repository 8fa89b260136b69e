"""The reader of large vocabularies: compiled, where padfix was installed from a wheel or with a C compiler."""

from __future__ import annotations

try:
    from padfix.read._scan import ScannedVocab, scan_object, scan_pairs, select, sentencepieces
except ImportError:  # the same answers in some fifteen times the time
    from padfix.read.plain_scan import (  # type: ignore[assignment]
        ScannedVocab,
        scan_object,
        scan_pairs,
        select,
        sentencepieces,
    )

__all__ = ["ScannedVocab", "scan_object", "scan_pairs", "select", "sentencepieces"]
