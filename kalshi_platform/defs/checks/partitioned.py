"""Partitioned checks: each hour or day has a verdict of its own, however many of them a run holds.

- Add here: how verdicts come to stand with the partition that they are of.
- Keep out: judging.
- Dagster 1.13 keeps the result of a check with the run's partition. Of a run of several it would keep one result with
  none, and leave those of the partitions "planned" for ever: so each is told as an evaluation of its own, and what the
  check returns is their sum.
- Dagster's word: asset checks, https://docs.dagster.io/guides/test/asset-checks
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from kalshi_platform.core.schema import Table
from kalshi_platform.defs.checks.spans import Span, dataset_of, spans
from kalshi_platform.defs.checks.verdict import WHAT_TO_DO, Verdict
from kalshi_platform.defs.partitions import partitions_of
from kalshi_platform.lake.datasets import Dataset
from kalshi_platform.lake.layout import Lake

Judge = Callable[[Span], Verdict]

_WARN, _ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
_NO_FILE = Verdict(["the lake has no file of it: nothing was looked at"], "", {}, _WARN)


def partition_check(
    what: Table | Dataset, name: str, description: str, what_to_do: str, *, blocking: bool = False
) -> Callable[[Callable[..., dg.AssetCheckResult]], dg.AssetChecksDefinition]:
    """Makes a function the check of a file of the lake, with a result for each partition.

    Args:
        what: What the file holds.
        name: Of the check.
        description: What it holds the file to.
        what_to_do: What a person does where it fails.
        blocking: Whether nothing may be made of a file that it refuses.
    """

    def define(check: Callable[..., dg.AssetCheckResult]) -> dg.AssetChecksDefinition:
        dataset = dataset_of(what)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)  # partitions of checks
            return dg.asset_check(
                asset=dg.AssetKey([dataset.layer.value, dataset.name]),
                name=name,
                description=description,
                blocking=blocking,
                partitions_def=partitions_of(what),
                metadata={WHAT_TO_DO: what_to_do},
            )(check)

    return define


def judged_files(
    context: dg.AssetCheckExecutionContext, what: Table | Dataset, lake: Lake, judge: Judge
) -> dg.AssetCheckResult:
    """The same of what is in files: a partition without one has nothing to be right, which is said and not passed."""
    return judged(context, what, lake, lambda span: judge(span) if span.has_file else _NO_FILE)


def judged(
    context: dg.AssetCheckExecutionContext, what: Table | Dataset, lake: Lake, judge: Judge
) -> dg.AssetCheckResult:
    """The verdict of the run's partition, or of each of its partitions and of all together."""
    run = context.op_execution_context
    (spec,) = run.assets_def.check_specs
    advice = str(spec.metadata[WHAT_TO_DO])
    verdicts: dict[str, Verdict] = {}
    for span in spans(context, what, lake):
        found = judge(span)
        verdicts[span.key] = replace(found, findings=[f"{span.key}: {one}" for one in found.findings])
        if not run.has_partition_key:
            _tell(run, spec, span.key, verdicts[span.key].result(advice))
    if len(verdicts) == 1:
        return next(iter(verdicts.values())).result(advice)
    return _together(verdicts, advice)


def _tell(run: dg.OpExecutionContext, spec: dg.AssetCheckSpec, partition: str, result: dg.AssetCheckResult) -> None:
    run.log_event(
        dg.AssetCheckEvaluation(  # type: ignore[arg-type] # which it takes, although its type does not say so
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=result.passed,
            metadata=result.metadata,
            target_materialization_data=target_of(run.instance, spec.asset_key, partition),
            severity=result.severity,
            description=result.description,
            blocking=spec.blocking,
            partition=partition,
        )
    )


def target_of(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """Which file was judged: without it Dagster takes a verdict for one of an earlier file."""
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
    records = instance.fetch_materializations(wanted, limit=1).records
    if not records:
        return None
    (found,) = records
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=found.storage_id, run_id=found.event_log_entry.run_id, timestamp=found.timestamp
    )


def _together(verdicts: Mapping[str, Verdict], advice: str) -> dg.AssetCheckResult:
    wrong = [verdict for verdict in verdicts.values() if not verdict.passed]
    severity = _WARN if wrong and all(verdict.severity is _WARN for verdict in wrong) else _ERROR
    rows = [dg.TableRecord({"partition": key, "passed": one.passed, "said": one.said}) for key, one in verdicts.items()]
    whole = Verdict(
        [finding for verdict in wrong for finding in verdict.findings],
        f"{len(verdicts)} partitions are right",
        {"partitions": len(verdicts), "partitions_wrong": len(wrong)},
        severity,
        sum(verdict.more for verdict in wrong),
    )
    return whole.result(advice, {"by_partition": dg.MetadataValue.table(rows)})
