"""Open-Meteo: irradiance, temperature and wind anywhere, as forecast and as it was."""
