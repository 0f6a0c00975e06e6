"""Huawei FusionSolar (SmartPVMS northbound API 24.5.0): telemetry, reports, and battery tasks."""
