// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlDefaultAdminRules} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ICommunityToken} from "./interfaces/ICommunityToken.sol";

/// @title The community's token: an ERC-20 either backed one to one or minted by a treasury
/// @notice Specified in `ICommunityToken`.
contract CommunityToken is
    ERC20,
    ERC20Permit,
    ICommunityToken,
    AccessControlDefaultAdminRules,
    ReentrancyGuardTransient
{
    using SafeERC20 for IERC20;

    /// @notice Mints the tokens of a treasury token.
    bytes32 public constant TREASURY_ROLE = keccak256("TREASURY_ROLE");

    /// @inheritdoc ICommunityToken
    IERC20 public immutable backing;
    /// @inheritdoc ICommunityToken
    uint256 public immutable weiPerBackingUnit;
    /// @inheritdoc ICommunityToken
    uint256 public immutable supplyCapWei;

    /// @param admin Grants the roles; handing it on takes `adminDelaySeconds`.
    /// @param backing_ The ERC-20 to deposit, or zero for a treasury token.
    /// @param supplyCapWei_ Most that the treasury may mint, or zero for a backed token.
    constructor(
        string memory name_,
        string memory symbol_,
        address admin,
        uint48 adminDelaySeconds,
        IERC20Metadata backing_,
        uint256 supplyCapWei_
    )
        ERC20(name_, symbol_)
        ERC20Permit(name_)
        AccessControlDefaultAdminRules(adminDelaySeconds, admin)
    {
        bool backed = address(backing_) != address(0);
        require(backed == (supplyCapWei_ == 0), KindUnclear(address(backing_), supplyCapWei_));
        backing = backing_;
        supplyCapWei = supplyCapWei_;
        if (backed) {
            uint8 backingDecimals = backing_.decimals();
            require(backingDecimals <= 18, BackingTooFine(backingDecimals));
            weiPerBackingUnit = 10 ** (18 - backingDecimals);
        }
    }

    modifier onlyKind(bool backed) {
        require(backed == (address(backing) != address(0)), WrongKind());
        _;
    }

    /// @inheritdoc ICommunityToken
    function depositBacking(
        address to,
        uint256 backingUnits
    ) external onlyKind(true) nonReentrant returns (uint256 amountWei) {
        uint256 before = backing.balanceOf(address(this));
        backing.safeTransferFrom(msg.sender, address(this), backingUnits);
        uint256 received = backing.balanceOf(address(this)) - before;
        require(received == backingUnits, DepositIncomplete(backingUnits, received));
        amountWei = backingUnits * weiPerBackingUnit;
        _mint(to, amountWei);
        emit BackingDeposited(msg.sender, to, backingUnits, amountWei);
    }

    /// @inheritdoc ICommunityToken
    function redeem(
        address to,
        uint256 amountWei
    ) external onlyKind(true) nonReentrant returns (uint256 backingUnits) {
        require(amountWei % weiPerBackingUnit == 0, NotRedeemable(amountWei, weiPerBackingUnit));
        backingUnits = amountWei / weiPerBackingUnit;
        _burn(msg.sender, amountWei);
        emit BackingRedeemed(msg.sender, to, backingUnits, amountWei);
        backing.safeTransfer(to, backingUnits);
    }

    /// @inheritdoc ICommunityToken
    function treasuryMint(
        address to,
        uint256 amountWei
    ) external onlyKind(false) onlyRole(TREASURY_ROLE) {
        uint256 supply = totalSupply() + amountWei;
        require(supply <= supplyCapWei, SupplyCapExceeded(supply, supplyCapWei));
        _mint(to, amountWei);
        emit TreasuryMinted(to, amountWei);
    }

    /// @inheritdoc ICommunityToken
    function treasuryBurn(uint256 amountWei) external onlyKind(false) {
        _burn(msg.sender, amountWei);
        emit TreasuryBurned(msg.sender, amountWei);
    }

    /// @inheritdoc IERC20Permit
    function nonces(
        address owner
    ) public view override(ERC20Permit, IERC20Permit) returns (uint256) {
        return super.nonces(owner);
    }
}
