"""SolaX Cloud (User API V2.0): telemetry every 5 minutes, no control."""
