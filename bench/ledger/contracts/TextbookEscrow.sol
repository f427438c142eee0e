// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

interface IToken {
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @notice The escrow of textbooks: one job is created and funded, its result submitted, then accepted and paid.
contract TextbookEscrow {
    enum State {
        None,
        Created,
        Submitted,
        Paid
    }

    struct Job {
        address payer;
        address provider;
        uint256 amount;
        uint256 deadline;
        bytes32 spec;
        bytes32 result;
        State state;
    }

    IToken public immutable token;
    Job[] public jobs;

    event Created(uint256 indexed job, address indexed payer, address indexed provider, uint256 amount);
    event Submitted(uint256 indexed job, bytes32 result);
    event Paid(uint256 indexed job);

    constructor(IToken token_) {
        token = token_;
    }

    function create(address provider, uint256 amount, uint256 deadline, bytes32 spec) external returns (uint256 job) {
        job = jobs.length;
        jobs.push(Job(msg.sender, provider, amount, deadline, spec, bytes32(0), State.Created));
        require(token.transferFrom(msg.sender, address(this), amount), "transfer failed");
        emit Created(job, msg.sender, provider, amount);
    }

    function submit(uint256 job, bytes32 result) external {
        Job storage it = jobs[job];
        require(it.state == State.Created && msg.sender == it.provider, "not yours to submit");
        it.result = result;
        it.state = State.Submitted;
        emit Submitted(job, result);
    }

    function accept(uint256 job) external {
        Job storage it = jobs[job];
        require(it.state == State.Submitted && msg.sender == it.payer, "not yours to accept");
        it.state = State.Paid;
        require(token.transfer(it.provider, it.amount), "transfer failed");
        emit Paid(job);
    }
}
