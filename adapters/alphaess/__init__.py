"""AlphaESS cloud (Web Monitoring API V2.1): telemetry, and dispatch as a lease of 90 s."""
