"""The same files and the same definitions on Spark: row for row what DuckDB gives."""

import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kalshi_platform.lake.aggregates import AGGREGATE_NAMES, aggregate_sql, checkpoint_levels_sql, emptied_books_sql
from kalshi_platform.lake.datasets import AGGREGATES, COVERAGE, RAW, Period
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.reader import connect
from kalshi_platform_tests.lake.invented import TICKERS, write_invented

pytestmark = pytest.mark.slow

spark_sql = pytest.importorskip("pyspark.sql", reason="needs Spark, which run.py test installs where there is a Java")
if shutil.which("java") is None:
    pytest.skip("needs Java 17 for Spark", allow_module_level=True)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Spark on this machine, with nothing outside loopback and nothing left behind."""
    folder = tmp_path_factory.mktemp("spark")
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # a test is over before more pays
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "1",  # a few thousand rows: all else costs more than it saves
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.warehouse.dir": str(folder),
        "spark.local.dir": str(folder),
    }
    builder = spark_sql.SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.mark.timeout(240)
def test_spark_and_duckdb_agree_on_every_aggregate(spark: Any, tmp_path: Path, noon: datetime) -> None:
    """Two hours of invented traffic with ties, holes and markets without quotes."""
    lake = Lake(tmp_path / "lake")
    minute = timedelta(minutes=1)
    holes = [("", noon + 20 * minute, noon + 21 * minute), (TICKERS[0], noon + 40 * minute, noon + 50 * minute)]
    write_invented(lake, noon, 1000, holes)
    connection = connect(lake)
    for name in ("trades", "tickers", "orderbook_deltas", "orderbook_snapshots", "markets", "events"):
        spark.read.parquet(lake.folder(RAW[name])).createOrReplaceTempView(name)
    for name, dataset in COVERAGE.items():
        spark.read.parquet(lake.folder(dataset)).createOrReplaceTempView(name)
    spark.sql(checkpoint_levels_sql("spark")).createOrReplaceTempView("checkpoint_levels")
    spark.sql(emptied_books_sql("spark")).createOrReplaceTempView("emptied_books")
    for name in AGGREGATE_NAMES:
        dataset = AGGREGATES[name]
        start = dataset.period.floor(noon)
        end = start + (timedelta(hours=1) if dataset.period is Period.HOUR else timedelta(days=1))
        sql = aggregate_sql(name, start, end)
        spark.sql(sql).write.parquet(str(tmp_path / name))
        ours = _rows(connection.sql(sql).to_arrow_table(), dataset.schema, dataset.sort)
        theirs = _rows(pq.read_table(tmp_path / name), dataset.schema, dataset.sort)
        assert ours.num_rows > 3, name
        assert ours.to_pylist() == theirs.to_pylist(), name


def _rows(found: pa.Table, schema: pa.Schema, order: tuple[str, ...]) -> pa.Table:
    """The rows in the dataset's columns and order."""
    return found.select(schema.names).cast(schema.remove_metadata()).sort_by([(name, "ascending") for name in order])
