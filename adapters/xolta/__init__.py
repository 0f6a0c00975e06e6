"""Xolta: MSAL tokens, set-points at absolute times, one question a minute for all devices."""
