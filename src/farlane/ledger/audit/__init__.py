"""The audit: the public record and the chain, replayed by somebody who trusts neither, and every deviation found."""
