"""Sensors: when something is due, and who hears of failures.

- Add here: sensors that look at the outside for some seconds at most and speak when its state changed; one module each.
- Keep out: work, which belongs to runs, and streams, which belong to daemons.
- Each keeps in its cursor what it has said already, so that neither a restart nor a second look says it twice.
- Dagster's word: sensors, https://docs.dagster.io/guides/automate/sensors
"""
