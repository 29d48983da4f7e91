"""Amounts: integers in minor units (cents, pence, yen), never floats.

The greatest amount is the greatest integer that every JSON reader keeps exact (RFC 7493, section 2.2), and so is the
greatest total of a wallet: no client can misread our responses.
"""

AMOUNT_MAX = 2**53 - 1
"""Greatest amount of one movement, and greatest total of one wallet, in minor units."""
