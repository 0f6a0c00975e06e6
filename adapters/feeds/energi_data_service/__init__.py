"""Energinet's Energi Data Service: day-ahead prices in both currencies, and the grid companies' price lists."""
