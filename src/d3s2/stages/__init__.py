"""The corridor: census -> select -> fit -> synthesize -> evaluate -> report; each reads, computes, writes."""
